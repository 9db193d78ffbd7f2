"""${plural.words.capitalize()} of one user."""

from typing import ClassVar, get_args

from sqlalchemy import bindparam

from app.db.base import table_of
from app.domain.${plural.snake}.models import ${singular.camel}
from app.domain.${plural.snake}.schemas import ${singular.camel}Read
% for name in shared:
from app.domain.${plural.snake}.schemas import ${name}
% endfor
from app.lib.persistence.statements import in_order, value_of
from app.lib.persistence.user_scoped import UserScopedService

${variable} = table_of(${singular.camel}).c


class ${singular.camel}Service(UserScopedService[${singular.camel}, ${singular.camel}Read]):
    """${plural.words.capitalize()} of one user: the verbs of `UserScopedService`."""

    model = ${singular.camel}
    schema = ${singular.camel}Read
% if filters:
    filters: ClassVar = {
% for field in fields:
% for filter in field.filters:
        "${filter.parameter}": ${variable}.${field.name} ${filter.comparison} bindparam(value_of("${filter.parameter}")),
% endfor
% endfor
    }
% endif
    sorts: ClassVar = {
        "created_at": ${variable}.created_at,
        "updated_at": ${variable}.updated_at,
% for field in fields:
% if field.sort:
        "${field.name}": ${field.sort},
% endif
% endfor
    }
