"""Believable todos."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from faker import Faker
from polyfactory.factories.msgspec_factory import MsgspecFactory
from uuid_utils.compat import uuid7

from app.db.base import table_of
from app.domain.todos.models import Todo
from app.domain.todos.schemas import Priority, TodoReplace
from app.lib.persistence.fractional_index import position_at

_ACTS = (
    "Buy",
    "Call about",
    "Clean",
    "Compare",
    "Finish",
    "Fix",
    "Order",
    "Plan",
    "Return",
    "Review",
    "Send",
    "Sort",
)
_THINGS = (
    "bike",
    "birthday gift",
    "bookshelf",
    "budget",
    "flight",
    "garden",
    "insurance",
    "invoice",
    "laptop",
    "passport",
)
_WHEN = ("", "", "", " before the weekend", " for the trip", " with Sam", " this month", " again", " at last")
_TAGS = ("home", "work", "errands", "health", "money", "travel", "urgent", "someday")
_DAYS = 365
_DIFFERENT = 2000


class TodoFactory(MsgspecFactory[TodoReplace]):
    """Todos as a client would send them."""

    __faker__ = Faker()

    @classmethod
    def title(cls) -> str:
        """Something that a person would write down."""
        pick = cls.__random__.choice
        return f"{pick(_ACTS)} the {pick(_THINGS)}{pick(_WHEN)}"

    @classmethod
    def description(cls) -> str | None:
        """A sentence or two, for every third."""
        return cls.__faker__.paragraph(2) if cls.__random__.random() < 1 / 3 else None

    @classmethod
    def completed(cls) -> bool:
        """Most of what is old is done."""
        return cls.__random__.random() < 0.6

    @classmethod
    def priority(cls) -> Priority:
        """Mostly none."""
        return cls.__random__.choice(("none", "none", "none", "low", "medium", "high"))

    @classmethod
    def due_date(cls) -> date | None:
        """A day within half a year, for every second."""
        day = datetime.now(UTC).date() + timedelta(days=cls.__random__.randint(-_DAYS // 2, _DAYS // 2))
        return day if cls.__random__.random() < 1 / 2 else None

    due_at = None
    list_id = None
    parent_id = None

    @classmethod
    def tags(cls) -> list[str]:
        """Up to three."""
        return cls.__random__.sample(_TAGS, cls.__random__.randint(0, 3))


class TodoSeeder:
    """Makes rows of todos: thousands of different ones, dealt out to the users."""

    table = table_of(Todo)
    columns: Sequence[str] = (
        "user_id",
        "id",
        *TodoReplace.__struct_fields__,
        "position",
        "completed_at",
        "created_at",
        "updated_at",
    )

    def rows(self, user_id: str, count: int) -> Iterator[tuple[Any, ...]]:
        """Give `count` todos of a user, made over the last year."""
        pick = TodoFactory.__random__
        now = datetime.now(UTC)
        for values in pick.choices(_different(), k=count):
            created = now - timedelta(days=_DAYS * pick.random() ** 2)
            done = created + (now - created) * pick.random() if values.completed else None
            fields = (getattr(values, name) for name in TodoReplace.__struct_fields__)
            yield (user_id, uuid7(), *fields, position_at(created), done, created, done or created)


@cache
def _different() -> list[TodoReplace]:
    return TodoFactory.batch(_DIFFERENT)
