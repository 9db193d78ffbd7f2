"""The SQL of subtasks: what lies above and below a todo, always of one user."""

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Executable,
    Integer,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    literal,
    null,
    or_,
    select,
    update,
)

from app.db.base import table_of
from app.domain.todos.models import Todo
from app.domain.todos.schemas import MAX_DEPTH
from app.lib.persistence.statements import Statements

_todos = table_of(Todo)
_live = _todos.c.deleted_at.is_(None)
_key, _parent = bindparam("key", type_=Uuid), bindparam("parent", type_=Uuid)


def _depth(above: CTE) -> ColumnElement[int]:
    return select(func.count(type_=Integer)).select_from(above).scalar_subquery()


def _height(below: CTE) -> ColumnElement[int]:
    return select(func.coalesce(func.max(below.c.depth), 1)).scalar_subquery()


class TreeStatements:
    """What the todo service asks of subtrees, built once."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self.placing = self._placing()
        self.discard = {conditional: self._discard(conditional) for conditional in (False, True)}
        self.restore = {conditional: self._restore(conditional) for conditional in (False, True)}

    def _placing(self) -> Executable:
        """Select, of a todo that is to come below a parent: the parent's depth, whether it is above it, its own height.

        The depth is 0 where there is no such parent; a todo that is yet to be made has no height. What is in the trash
        counts for neither.
        """
        above = self._walk("above", _todos.c.id == _parent, _live, upwards=True)
        below = self._walk("below", _todos.c.id == _key, through=_live)
        is_above = select(func.bool_or(above.c.id == _key)).scalar_subquery()
        return select(_depth(above), is_above, _height(below))

    def _discard(self, conditional: bool) -> Executable:
        """Move a todo with all below it to the trash, as at one moment."""
        expected = self._statements.expected(conditional)
        below = self._walk("below", _todos.c.id == _key, _live, *expected, through=_live)
        values = self._statements.written({"deleted_at": func.statement_timestamp()})
        return self._change(below, values, _live, expected)

    def _restore(self, conditional: bool) -> Executable:
        """Take a todo with all that went with it out of the trash.

        It comes without its parent where that is still in the trash, or by now too deep to have it.
        """
        gone = _todos.c.deleted_at.is_not(None)
        expected = self._statements.expected(conditional)
        below = self._walk("below", _todos.c.id == _key, gone, *expected, together=True)
        todo = _todos.alias("todo")
        parent = select(todo.c.parent_id).where(self._statements.own(todo), todo.c.id == _key).scalar_subquery()
        above = self._walk("above", _todos.c.id == parent, _live, upwards=True)
        depth = _depth(above)
        fits = and_(depth > 0, depth + _height(below) <= MAX_DEPTH)
        parent_id = case((or_(_todos.c.id != _key, fits), _todos.c.parent_id), else_=null())
        values = self._statements.written({"deleted_at": null(), "parent_id": parent_id})
        return self._change(below, values, gone, expected)

    def _change(
        self, below: CTE, values: dict[str, Any], state: ColumnElement[bool], expected: list[ColumnElement[bool]]
    ) -> Executable:
        # The row may have been written since `below` was read: what is expected of it is asked again.
        still = or_(_todos.c.id != _key, and_(state, *expected))
        own = self._statements.own(_todos)
        statement = update(_todos).where(own, _todos.c.id.in_(select(below.c.id)), state, still)
        return statement.values(values).returning(_todos.c.id)

    def _walk(
        self,
        name: str,
        *start: ColumnElement[bool],
        through: ColumnElement[bool] | None = None,
        upwards: bool = False,
        together: bool = False,
    ) -> CTE:
        """Follow parents up, or children down; `together` are those that came into the trash at one moment."""
        columns = (_todos.c.id, _todos.c.parent_id, _todos.c.deleted_at)
        first = select(*columns, literal(1, Integer).label("depth")).where(self._statements.own(_todos), *start)
        walk = first.cte(name, recursive=True)
        further = [_todos.c.id == walk.c.parent_id if upwards else _todos.c.parent_id == walk.c.id]
        # A cycle cannot come to be; were there one, nobody would wait for its end.
        further.append(walk.c.depth <= 2 * MAX_DEPTH)
        if through is not None:
            further.append(through)
        if together:
            further.append(_todos.c.deleted_at == walk.c.deleted_at)
        step = select(*columns, walk.c.depth + 1).where(self._statements.own(_todos), *further)
        return walk.union_all(step)
