"""The table of lists."""

from sqlalchemy import CheckConstraint, Index, Text, column, func
from sqlmodel import Field

from app.db.base import WRITTEN_AS, Owned
from app.domain.todos.lists.schemas import COLOR, MAX_NAME, ListCreate
from app.domain.todos.positions import position_field, position_length


class TodoList(Owned, table=True):
    """A list that todos are kept in."""

    __tablename__ = "lists"
    __table_args__ = (
        Index("uq_lists_user_id_name", "user_id", func.lower(func.upper(column("name", Text))), unique=True),
        CheckConstraint(func.char_length(column("name")).between(1, MAX_NAME), name="name_length"),
        CheckConstraint(column("color").regexp_match(COLOR), name="color_form"),
        position_length(),
        Index(None, "user_id", "position", "id"),
        {"info": {WRITTEN_AS: ListCreate}},
    )

    name: str = Field(sa_type=Text)
    color: str | None = Field(default=None, sa_type=Text)
    position: str = position_field()
