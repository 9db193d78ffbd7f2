"""What tests of lists, trees and orders do again and again."""

from typing import Any

import httpx

from tests.support import Client, json_object

type Todo = dict[str, Any]


async def new_list(client: Client, name: str = "Home", **fields: Any) -> dict[str, Any]:
    """Create a list, and give it as the server answered."""
    return json_object(await client.post(client.path("lists"), json={"name": name} | fields), 201)


async def chain(client: Client, length: int, **fields: Any) -> list[Todo]:
    """Create todos, each below the one before."""
    made: list[Todo] = []
    for level in range(length):
        made.append(
            await client.create(title=f"Level {level + 1}", parent_id=made[-1]["id"] if made else None, **fields)
        )
    return made


async def get(client: Client, todo: Todo) -> Todo:
    """Give a todo as it is now."""
    return json_object(await client.get(client.todos(todo["id"])))


async def listed(client: Client, **query: Any) -> list[Todo]:
    """Give all todos of up to a hundred that match."""
    page = json_object(await client.get(client.todos(), params={"limit": 100} | query))
    assert page["next_cursor"] is None
    items: list[Todo] = page["items"]
    return items


async def titles(client: Client, **query: Any) -> list[str]:
    """Give their titles, by position unless sorted otherwise."""
    return [todo["title"] for todo in await listed(client, **{"sort": "position"} | query)]


async def move(client: Client, todo: Todo, **where: Any) -> httpx.Response:
    """Ask for a move next to another todo, or to one whose id is given."""
    body = {side: other["id"] if isinstance(other, dict) else other for side, other in where.items()}
    return await client.post(client.todos(todo["id"], "move"), json=body)


async def put_next_to(client: Client, todo: Todo, **where: Any) -> Todo:
    """Move, and give what it is then."""
    return json_object(await move(client, todo, **where))


async def discard(client: Client, todo: Todo, **query: Any) -> httpx.Response:
    """Delete a todo."""
    return await client.delete(client.todos(todo["id"]), params=query)


async def restore(client: Client, todo: Todo) -> httpx.Response:
    """Take a todo out of the trash."""
    return await client.post(client.todos(todo["id"], "restore"))


async def batch(client: Client, *operations: dict[str, Any], **options: Any) -> httpx.Response:
    """Run operations in one transaction."""
    return await client.post(client.todos("batch"), json={"operations": operations}, **options)
