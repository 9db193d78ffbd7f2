"""Random statements over owned tables: some bound to their user, some not, some with text in unusual places."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.elements import quoted_name

from app.db.base import owners, table_of
from app.domain.todos.lists.models import TodoList
from app.domain.todos.models import Todo
from app.domain.users.models import User

todos, lists, users = (table_of(model) for model in (Todo, TodoList, User))
owner = bindparam("owner", type_=Text)

# A column of text, one that refers to a list, and the table's own id.
TEXT = {"app.todos": "title", "app.lists": "name", "app.users": "name"}


def base(table: Any) -> Any:
    """Return the table that an alias stands for."""
    return getattr(table, "element", table)


def owner_of(table: Any) -> Any:
    return table.c[owners()[base(table).fullname]]


def text_of(table: Any) -> Any:
    return table.c[TEXT[base(table).fullname]]


def bound(table: Any) -> ColumnElement[bool]:
    is_bound: ColumnElement[bool] = owner_of(table) == owner
    return is_bound


def not_bound(draw: DrawFn, table: Any, others: list[Any]) -> Any:
    """Draw a condition that only looks as if it bound a table to its user, or that changes what one beside it means."""
    other = draw(st.sampled_from([table, *others]))
    choices: list[Callable[[], Any]] = [
        true,
        lambda: or_(bound(table), text_of(table) == "x"),
        lambda: not_(bound(table)),
        lambda: owner_of(table) != owner,
        lambda: owner_of(table) == owner_of(other),
        lambda: bound(other),
        lambda: text_of(table) == owner,
        lambda: owner_of(table).in_(select(owner_of(users))),
        lambda: func.lower(owner_of(table)) == owner,
        lambda: or_(bound(table), true()),
        lambda: and_(bound(table), literal_column("true OR true")),
        lambda: and_(bound(table), text_of(table).op("IS NOT NULL OR 'x' =", precedence=100)("x")),
        lambda: and_(bound(table), true().op("OR", precedence=100)(true())),
        lambda: bound(table).op("OR")(true()),
        lambda: owner_of(table).op("<>")(owner),
        lambda: owner_of(table) == func.concat(owner, ""),
        lambda: owner_of(table).like(owner + "%"),
        lambda: bound(table).is_(False),
        lambda: owner_of(table).collate(quoted_name('"C" IS NOT NULL OR app.todos.title', False)) == owner,
    ]
    return draw(st.sampled_from(choices))()


@st.composite
def conditions(draw: DrawFn, tables: list[Any], *, honest: bool) -> Any:
    """Draw a WHERE: in honest statements each table is bound in it, in others mostly."""
    parts = []
    for table in tables:
        is_bound = honest or draw(st.integers(0, 4)) > 0
        parts.append(bound(table) if is_bound else not_bound(draw, table, tables))
    extra = draw(st.lists(st.sampled_from(tables), max_size=2))
    parts += [draw(st.sampled_from([text_of(table) != "x", text_of(table).is_not(None), true()])) for table in extra]
    return and_(*draw(st.permutations(parts)))


@st.composite
def tables(draw: DrawFn) -> Any:
    table = draw(st.sampled_from([todos, todos, lists, users]))
    return draw(st.sampled_from([table, table, table.alias(draw(st.sampled_from(["a", "b", "todos", "lists"])))]))


@st.composite
def sources(draw: DrawFn, depth: int, *, honest: bool) -> tuple[Any, list[Any], list[Any]]:
    """Draw a FROM, the tables that it needs to be bound, and the columns that can be selected from it."""
    first = draw(tables())
    if depth and draw(st.integers(0, 3)) == 0:
        nested = draw(selects(depth - 1, honest=honest))
        nested = draw(st.sampled_from([nested.subquery, nested.cte]))()
        return nested, [], [draw(st.sampled_from(list(nested.c)))]
    second = draw(tables())
    if draw(st.booleans()) or second is first or base(second) is base(first):
        return first, [first], [text_of(first), func.count(text_of(first)).over()]
    on = draw(
        st.sampled_from([owner_of(first) == owner_of(second), true(), and_(bound(first), bound(second)), bound(second)])
    )
    outer, full = draw(st.sampled_from([(False, False), (False, False), (True, False), (True, True)]))
    is_full_of_others = full and not honest
    join = first.join(second, on, isouter=outer or full, full=is_full_of_others)
    return join, [first, second], [text_of(first), text_of(second)]


@st.composite
def selects(draw: DrawFn, depth: int, *, honest: bool) -> Any:
    """Draw a SELECT of one text column."""
    source, needed, columns = draw(sources(depth, honest=honest))
    column = draw(st.sampled_from(columns))
    statement = select(column).select_from(source)
    if needed:
        statement = statement.where(draw(conditions(needed, honest=honest)))
    if depth and needed and draw(st.integers(0, 2)) == 0:
        nested = draw(selects(depth - 1, honest=honest))
        statement = draw(
            st.sampled_from(
                [
                    statement.where(exists(nested)),
                    statement.where(text_of(needed[0]).in_(nested)),
                    statement.order_by(nested.limit(1).scalar_subquery()),
                    statement.add_columns(select(func.count()).select_from(nested.subquery()).scalar_subquery()),
                ]
            )
        )
    if not honest:
        statement = draw(st.sampled_from([statement] * 8 + unusual(statement)))
    if draw(st.integers(0, 5)) == 0:
        statement = statement.distinct()
    return statement


def unusual(statement: Any) -> list[Any]:
    """Return versions of a SELECT with text of the caller's in it."""
    return [
        statement.suffix_with("OR true"),
        statement.prefix_with("(SELECT max(title) FROM app.todos),"),
        statement.add_columns(literal_column("(SELECT string_agg(title, ',') FROM APP . todos)")),
        statement.add_columns(func.query_to_xml("SELECT title FROM app.todos ORDER BY id", True, False, "")),
        statement.correlate(None),
        statement.correlate(todos),
    ]


@st.composite
def changes(draw: DrawFn, *, honest: bool) -> Any:
    """Draw an INSERT, UPDATE or DELETE."""
    table = draw(st.sampled_from([todos, lists]))
    where = draw(conditions([table], honest=honest))
    value = draw(
        st.one_of(st.just(literal("new", Text)), selects(1, honest=honest).map(lambda s: s.limit(1).scalar_subquery()))
    )
    text = text_of(table).key
    target = owner if honest or draw(st.integers(0, 3)) else draw(st.sampled_from([literal("bob"), func.lower("BOB")]))
    new = {"user_id": target, "id": bindparam("new_id", type_=table.c.id.type), text: value}
    conflict = upsert(table).values(new)
    choices: list[Callable[[], Any]] = [
        lambda: update(table).where(where).values({text: value}).returning(text_of(table)),
        lambda: update(table).where(where).values({"user_id": target}).returning(text_of(table)),
        lambda: delete(table).where(where).returning(text_of(table)),
        lambda: insert(table).values(new).returning(text_of(table)),
        lambda: conflict.on_conflict_do_update(index_elements=["user_id", "id"], set_={text: value}),
        lambda: conflict.on_conflict_do_update(index_elements=["user_id", "id"], set_={"user_id": target}),
    ]
    if not honest:
        choices += [
            lambda: update(table).values({text: value}),
            lambda: insert(table).values({"id": new["id"], text: value}),
            lambda: update(table).where(where, text_of(users) == text_of(table)).values({text: text_of(users)}),
            lambda: delete(table).where(where, users.c.id == "bob"),
        ]
    return draw(st.sampled_from(choices))()


def statements() -> SearchStrategy[Any]:
    """Return a strategy of statements that one user sends, about half of them bound as they should be."""
    return st.booleans().flatmap(
        lambda honest: st.one_of(selects(2, honest=honest), selects(2, honest=honest), changes(honest=honest))
    )
