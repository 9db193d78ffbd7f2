"""`/api/{user_id}/${plural.snake}`: the promises of an owned resource, held for ${plural.words}."""

from typing import ClassVar

from app.domain.${plural.snake}.models import ${singular.camel}
from app.domain.${plural.snake}.schemas import ${singular.camel}Create
from tests.owned import walls
from tests.owned.resource import BodyFactory, Resource
% for name in ("booleans", "choices", "dates", "decimals", "instants", "integers", "nullable", "strings", "texts", "uuids"):
from tests.owned.samples import ${name}
% endfor


class ${singular.camel}Factory(BodyFactory[${singular.camel}Create]):
    """Makes ${plural.words} as a client would send them."""

    __model__ = ${singular.camel}Create


${plural.snake.upper()} = Resource(
    "${plural.snake}",
    ${singular.camel},
    ${singular.camel}Factory,
    {
% for field in fields:
        "${field.name}": ${f"nullable({field.samples})" if field.nullable else field.samples},
% endfor
    },
)


class TestList${plural.camel}(walls.Listing):
    resource: ClassVar = ${plural.snake.upper()}


class TestCreate${singular.camel}(walls.Create):
    resource: ClassVar = ${plural.snake.upper()}


class TestGet${singular.camel}(walls.Get):
    resource: ClassVar = ${plural.snake.upper()}


class TestReplace${singular.camel}(walls.Replace):
    resource: ClassVar = ${plural.snake.upper()}


class TestUpdate${singular.camel}(walls.Update):
    resource: ClassVar = ${plural.snake.upper()}


class TestDelete${singular.camel}(walls.Delete):
    resource: ClassVar = ${plural.snake.upper()}


class Test${plural.camel}OfAnAccount(walls.Account):
    resource: ClassVar = ${plural.snake.upper()}


class Test${plural.camel}Table(walls.SecondWall):
    resource: ClassVar = ${plural.snake.upper()}
