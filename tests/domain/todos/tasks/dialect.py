"""The `tasks` dialect, as seen from the todos."""

from typing import Any

from tests.support import Client

SHOWN = (
    "id",
    "user_id",
    "title",
    "description",
    "completed",
    "priority",
    "due_date",
    "tags",
    "created_at",
    "updated_at",
)


def tasks(client: Client, *parts: object) -> str:
    return client.path("tasks", *parts)


def as_task(todo: dict[str, Any]) -> dict[str, Any]:
    """Say of a todo what the dialect says of it."""
    priority = "medium" if todo["priority"] == "none" else todo["priority"]
    return {name: todo[name] for name in SHOWN} | {
        "due_date": todo["due_date"] or todo["due_at"],
        "priority": priority,
    }
