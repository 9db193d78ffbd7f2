<%
    id = f"{singular.snake}_id"
    arguments = f"self, {plural.snake}: {plural.camel}"
    of_one = f"{arguments}, {id}: {singular.camel}Id"
    Read, Create, Update, Query, Service = (
        singular.camel + kind for kind in ("Read", "Create", "Update", "Query", "Service")
    )
%>\
"""`/api/{user_id}/${plural.snake}`."""

from uuid import UUID

from litestar import Controller, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.domain.${plural.snake}.schemas import ${Create}, ${Query}, ${Read}, ${Update}
from app.domain.${plural.snake}.services import ${Service}
from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.http.dependencies import provide
from app.lib.validation.query import Page

${plural.camel} = NamedDependency[${Service}]
${singular.camel}Id = FromPath[UUID]


class ${singular.camel}Controller(Controller):
    """${plural.words.capitalize()} of one user."""

    path = "/{user_id:str}/${plural.snake}"
    tags = ["${plural.words}"]
    opt = scopes("${plural.snake}:read", "${plural.snake}:write")
    guards = [requires_owner]
    dependencies = {"${plural.snake}": provide(${Service})}

    @get()
    async def list_${plural.snake}(${arguments}, criteria: NamedDependency[${Query}]) -> Page[${Read}]:
        """List ${plural.words}, newest first unless sorted otherwise."""
        return await ${plural.snake}.page(criteria)

    @post()
    async def create_${singular.snake}(${arguments}, data: JSONBody[${Create}]) -> ${Read}:
        """Create ${singular.one}."""
        return await ${plural.snake}.insert(data)

    @get("/{${id}:uuid}")
    async def get_${singular.snake}(${of_one}) -> ${Read}:
        """Get one ${singular.words}."""
        return await ${plural.snake}.fetch(${id})

    @put("/{${id}:uuid}")
    async def replace_${singular.snake}(${of_one}, data: JSONBody[${Create}]) -> ${Read}:
        """Replace ${singular.one}: what is left out goes back to its default."""
        return await ${plural.snake}.patch(${id}, data)

    @patch("/{${id}:uuid}")
    async def update_${singular.snake}(${of_one}, data: JSONBody[${Update}]) -> ${Read}:
        """Change what is sent, as a JSON merge patch."""
        return await ${plural.snake}.patch(${id}, data)

    @delete("/{${id}:uuid}")
    async def delete_${singular.snake}(${of_one}) -> None:
        """Delete ${singular.one}."""
        await ${plural.snake}.remove(${id})
