"""Which statements stay with one user, and which parameters must then be that user."""

from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Text,
    TypeDecorator,
    and_,
    bindparam,
    cast,
    column,
    delete,
    exists,
    extract,
    false,
    func,
    insert,
    lateral,
    literal,
    literal_column,
    or_,
    select,
    table,
    tablesample,
    text,
    true,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import UserDefinedType
from sqlmodel import col

from app.db.base import metadata, owners, table_of
from app.db.idempotency import IdempotencyKey
from app.domain.todos.lists.models import TodoList
from app.domain.todos.models import Todo
from app.domain.todos.services import TodoService
from app.domain.users.models import User
from app.lib.persistence.plain_elements import NotScopable
from app.lib.persistence.scope_analysis import owner_parameters
from app.lib.persistence.sql_text import HiddenText, table_references
from tests.factories import DIALECT

todos, lists, users, keys = (table_of(model) for model in (Todo, TodoList, User, IdempotencyKey))
owner = bindparam("owner", type_=Text)
mine = todos.c.user_id == owner
my_list = lists.c.user_id == owner
same_user = lists.c.user_id == todos.c.user_id
other = todos.alias("other")
new = {"user_id": owner, "title": "x"}


def needs(statement: Any, *column_keys: str) -> set[str]:
    compiled = statement.compile(dialect=DIALECT, column_keys=column_keys or None)
    return set(owner_parameters(compiled, owners()))


def tree(step: Any, first: Any = mine, selected: Any = todos.c.user_id) -> Any:
    """Give a todo with all that is below it, as a recursive CTE whose second part is joined by `step`."""
    top = select(todos.c.user_id, todos.c.id).where(first, todos.c.id == bindparam("key")).cte("tree", recursive=True)
    return top.union_all(select(selected, todos.c.id).join_from(todos, top, step(top)))


def by_owner(top: Any) -> Any:
    return and_(todos.c.user_id == top.c.user_id, todos.c.parent_id == top.c.id)


def by_owner_and_parameter(top: Any) -> Any:
    return and_(mine, todos.c.user_id == top.c.user_id, todos.c.parent_id == top.c.id)


def by_parameter(top: Any) -> Any:
    return and_(mine, todos.c.parent_id == top.c.id)


def by_id(top: Any) -> Any:
    return todos.c.parent_id == top.c.id


part = select(todos.c.user_id, todos.c.id).where(mine).subquery()
moved = update(todos).where(mine).values(title="x").returning(todos.c.user_id, todos.c.id).cte("moved")
lists_of = lateral(select(lists.c.name).where(my_list, lists.c.id == todos.c.list_id))

ADMITTED = {
    "select": select(todos).where(mine),
    "select with more": select(todos.c.id).where(mine, or_(todos.c.completed, todos.c.title == "x")),
    "the other way round": select(todos.c.id).where(owner == todos.c.user_id),
    "within and_": select(todos.c.id).where(and_(todos.c.completed, and_(mine, true()))),
    "an alias": select(other.c.id).where(other.c.user_id == owner),
    "a join of two bound tables": select(todos.c.id).join_from(todos, lists, same_user).where(mine, my_list),
    "a join bound in its ON": select(todos.c.id).join_from(todos, lists, and_(same_user, mine, my_list)),
    "an outer join whose ON binds the outer side": select(todos.c.id)
    .outerjoin_from(todos, lists, and_(same_user, my_list))
    .where(mine),
    "a full join with both bound": select(todos.c.id)
    .join_from(todos, lists, same_user, full=True)
    .where(mine, my_list),
    "a chain of joins": select(todos.c.id)
    .join_from(todos, lists, and_(same_user, mine))
    .join(other, other.c.parent_id == todos.c.id)
    .where(other.c.user_id == owner, my_list),
    "a subquery": select(part.c.id),
    "a join with a subquery": select(todos.c.id).join_from(todos, part, todos.c.id == part.c.id).where(mine),
    "a cte": select(select(todos).where(mine).cte().c.id),
    "a recursive cte": select(tree(by_parameter).c.id),
    "a join with a recursive cte": update(todos).where(mine, todos.c.id == (below := tree(by_parameter)).c.id),
    "an alias of a cte": select((again := tree(by_parameter).alias("again")).c.id)
    .join_from(again, lists, lists.c.user_id == again.c.user_id)
    .where(my_list),
    "a cte that writes": select(todos.c.id).join_from(todos, moved, todos.c.id == moved.c.id).where(mine),
    "a cte beside": select(literal(1)).add_cte(delete(todos).where(mine).cte("gone")),
    "a scalar subquery": select(
        todos.c.id, select(func.count()).select_from(todos).where(mine).scalar_subquery()
    ).where(mine),
    "a correlated one": select(
        todos.c.id, select(lists.c.name).where(my_list, lists.c.id == todos.c.list_id).scalar_subquery()
    ).where(mine),
    "exists": select(todos.c.id).where(mine, exists().where(my_list, lists.c.id == todos.c.list_id)),
    "in": select(todos.c.id).where(mine, todos.c.list_id.in_(select(lists.c.id).where(my_list))),
    "lateral": select(todos.c.id, lists_of.c.name).select_from(todos).join(lists_of, true()).where(mine),
    "a union": select(todos.c.id).where(mine).union(select(lists.c.id).where(my_list)),
    "a function of a column": select(func.unnest(todos.c.tags).column_valued("tag")).where(mine),
    "the user": select(users.c.name).where(users.c.id == owner),
    "the user's rows and the user": select(users.c.name)
    .join(todos, todos.c.user_id == users.c.id)
    .where(users.c.id == owner, mine),
    "entities": select(Todo).where(col(Todo.user_id) == owner),
    "entities joined": select(Todo)
    .join(TodoList, col(TodoList.id) == col(Todo.list_id))
    .where(col(Todo.user_id) == owner, col(TodoList.user_id) == owner),
    "an update of entities": update(User).where(col(User.id) == owner).values(name="x"),
    "for update": select(todos.c.id).where(mine).with_for_update(),
    "update": update(todos).where(mine).values(title="x"),
    "update from": update(todos).where(mine, my_list, same_user).values(title=lists.c.name),
    "update to oneself": update(todos).where(mine).values(user_id=owner),
    "delete": delete(todos).where(mine),
    "delete using": delete(todos).where(mine, my_list),
    "insert": insert(todos).values(new),
    "insert from select": insert(todos).from_select(["user_id", "title"], select(owner, lists.c.name).where(my_list)),
    "upsert": upsert(todos).values(new).on_conflict_do_update(index_elements=["user_id", "id"], set_={"title": "x"}),
    "upsert by constraint": upsert(todos).values(new).on_conflict_do_update(constraint="pk_todos", set_={"title": "x"}),
    "upsert under a condition": upsert(todos)
    .values(new)
    .on_conflict_do_update(index_elements=["id"], set_={"title": "x"}, where=mine),
    "insert or nothing": upsert(todos).values(new).on_conflict_do_nothing(),
}

loose = select(todos.c.user_id, todos.c.id).subquery()
REFUSED = {
    "select": select(todos),
    "by id": select(todos).where(todos.c.id == bindparam("key")),
    "or": select(todos).where(or_(mine, todos.c.completed)),
    "not": select(todos).where(~mine),
    "unequal": select(todos).where(todos.c.user_id != owner),
    "in": select(todos).where(todos.c.user_id.in_([owner])),
    "like": select(todos).where(todos.c.user_id.like(owner)),
    "null": select(todos).where(todos.c.user_id.is_(None)),
    "itself": select(todos).where(todos.c.user_id == todos.c.user_id),
    "another column": select(todos).where(todos.c.title == owner),
    "the owner by another column": select(todos).where(todos.c.user_id == todos.c.title, todos.c.title == owner),
    "an alias": select(other.c.id, todos.c.id).where(mine),
    "a join by id": select(todos.c.id).join_from(todos, lists, lists.c.id == todos.c.list_id).where(mine),
    "a join bound nowhere": select(todos.c.id).join_from(todos, lists, same_user),
    "an outer join whose ON alone binds": select(todos.c.id).outerjoin_from(
        todos, lists, and_(same_user, mine, my_list)
    ),
    "an outer join bound at the far end": select(todos.c.id)
    .outerjoin_from(todos, lists, same_user)
    .where(or_(my_list, lists.c.id.is_(None))),
    "a full join": select(todos.c.id).join_from(todos, lists, and_(same_user, mine, my_list), full=True),
    "a product": select(todos.c.id, lists.c.id).where(mine),
    "a subquery": select(loose.c.id),
    "a subquery bound outside": select(loose.c.id).where(loose.c.user_id == owner),
    "a join with such": select(todos.c.id).join_from(todos, loose, todos.c.user_id == loose.c.user_id),
    "a join with another column of a subquery": select(todos.c.id)
    .join_from(todos, part, todos.c.title == part.c.id)
    .where(todos.c.user_id == part.c.id),
    "a cte": select(select(todos).cte().c.id),
    "a recursive cte by id": select(tree(by_id).c.id),
    "a recursive cte from anybody": select(tree(by_owner, first=true()).c.id),
    "a recursive cte that changes its owner": select(tree(by_owner, selected=todos.c.title).c.id),
    "a cte beside": select(literal(1)).add_cte(delete(todos).cte("gone")),
    "a scalar subquery": select(todos.c.id, select(func.count()).select_from(todos).scalar_subquery()).where(mine),
    "one that does not correlate": select(
        todos.c.id, select(lists.c.name).where(same_user).correlate(None).scalar_subquery()
    ).where(mine),
    "a correlated one by id": select(
        todos.c.id, select(lists.c.name).where(lists.c.id == todos.c.list_id).scalar_subquery()
    ).where(mine),
    "in order by": select(todos.c.id).where(mine).order_by(select(func.max(lists.c.id)).scalar_subquery()),
    "in limit": select(todos.c.id).where(mine).limit(select(func.count()).select_from(lists).scalar_subquery()),
    "in having": select(func.count()).where(mine).having(select(func.count()).select_from(lists).scalar_subquery() > 1),
    "in a function": select(func.coalesce(select(lists.c.name).scalar_subquery(), "x")),
    "in a case of a join's ON": select(todos.c.id)
    .join_from(todos, users, exists().where(lists.c.id == todos.c.id))
    .where(mine, users.c.id == owner),
    "exists": select(todos.c.id).where(mine, exists().where(lists.c.id == todos.c.list_id)),
    "lateral": select(todos.c.id)
    .join(lateral(select(lists.c.id).where(lists.c.id == todos.c.list_id)), true())
    .where(mine),
    "a union": select(todos.c.id).where(mine).union(select(lists.c.id)),
    "a union in a subquery": select(select(todos.c.id).where(mine).union_all(select(lists.c.id)).subquery().c.id),
    "users": select(users.c.email),
    "users of todos": select(users.c.name).join(todos, todos.c.user_id == users.c.id).where(users.c.name == owner),
    "entities": select(Todo),
    "entities joined": select(Todo)
    .join(TodoList, col(TodoList.id) == col(Todo.list_id))
    .where(col(Todo.user_id) == owner),
    "update": update(todos).values(title="x"),
    "update by id": update(todos).where(todos.c.id == bindparam("key")).values(title="x"),
    "update from": update(todos).where(mine, lists.c.id == todos.c.list_id).values(title=lists.c.name),
    "update from a subquery": update(todos).where(mine).values(title=select(lists.c.name).scalar_subquery()),
    "giving away": update(todos).where(mine).values(user_id=func.lower("BOB")),
    "an update of entities": update(User).values(name="x"),
    "delete": delete(todos),
    "delete using": delete(todos).where(mine, lists.c.id == todos.c.list_id),
    "insert without an owner": insert(todos).values(title="x"),
    "insert with a computed owner": insert(todos).values(new | {"user_id": func.lower("BOB")}),
    "insert many, one of them": insert(todos).values([new, new | {"user_id": func.lower("BOB")}]),
    "insert from select": insert(todos).from_select(["user_id", "title"], select(lists.c.user_id, lists.c.name)),
    "insert from another column": insert(todos).from_select(
        ["user_id", "title"], select(lists.c.name, lists.c.name).where(my_list)
    ),
    "insert from a union": insert(todos).from_select(
        ["user_id", "title"],
        select(owner, literal("x")).union(select(func.lower("BOB"), literal("x"))),
        include_defaults=False,
    ),
    "insert returning": insert(todos).values(new).returning(select(func.count()).select_from(lists).scalar_subquery()),
    "upsert by another key": upsert(todos)
    .values(new)
    .on_conflict_do_update(index_elements=["id"], set_={"title": "x"}),
    "upsert that gives away": upsert(todos)
    .values(new)
    .on_conflict_do_update(index_elements=["user_id", "id"], set_={"user_id": func.lower("BOB")}),
    "upsert from elsewhere": upsert(todos)
    .values(new)
    .on_conflict_do_update(index_elements=["user_id", "id"], set_={"title": select(lists.c.name).scalar_subquery()}),
    "text": text("SELECT * FROM app.todos WHERE user_id = :owner"),
    "text of something else": text("SELECT 1"),
    "text with columns": text("SELECT id FROM app.todos").columns(todos.c.id),
    "text in a subquery": select(text("SELECT id FROM app.todos").columns(todos.c.id).subquery().c.id),
    "text in the condition": select(todos.c.id).where(mine, text("true")),
    "a text column": select(literal_column("(SELECT max(title) FROM app.todos)")),
    "a quoted text column": select(todos.c.id, literal_column('(SELECT max(title) FROM "app"."todos")')).where(mine),
    "a text prefix": select(todos.c.id).prefix_with(text("DISTINCT ON ((SELECT id FROM app.todos))")).where(mine),
    "a table by its name": select(table("todos", column("title"), column("user_id"), schema="app")),
}

# Safe, but only by reasoning from one column to another: the rule is direct.
NOT_DIRECT = {
    "a join by user": select(todos.c.id).join_from(todos, lists, same_user).where(mine),
    "a subquery's owner": select(todos.c.id).join_from(todos, part, todos.c.user_id == part.c.user_id),
    "a recursive cte by user": select(tree(by_owner).c.id),
    "a correlated one": select(todos.c.id, select(lists.c.name).where(same_user).scalar_subquery()).where(mine),
    "update from": update(todos).where(mine, same_user).values(title=lists.c.name),
    "insert many": insert(todos).values([new, new]),
    "insert from the user's rows": insert(todos).from_select(
        ["user_id", "title"], select(lists.c.user_id, lists.c.name).where(my_list)
    ),
    "values": select(values(column("n"), name="v").data([(1,)]).c.n, todos.c.id).where(mine),
}


class Anything(ColumnElement[bool]):
    inherit_cache = False
    type = Boolean()


@compiles(Anything)
def render_anything(*_: Any, **__: Any) -> str:
    return "app.todos.completed OR true"


class Shout(TypeDecorator[str]):
    """Sends another value than the one that was compared."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        del dialect
        return value and value.upper()


class Wrapped(Text):
    def bind_expression(self, bindvalue: Any) -> Any:
        return func.coalesce(literal_column("'bob'"), bindvalue)


class Cost(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "text) OR (true"


counted = select(func.count()).select_from(todos).where(mine).scalar_subquery()
unquoted = table(quoted_name("todos WHERE true --", False), column("title"), schema="app")

# Text of the caller's that can change what stands beside it, and ways to name a table unseen.
REFUSED |= {
    "a literal column with OR": select(todos.c.id).where(mine, literal_column("app.todos.completed OR true")),
    "a literal column alone": select(literal_column("title")).select_from(todos).where(mine),
    "a suffix": select(todos.c.id).where(mine).suffix_with("OR true"),
    "a prefix": select(todos.c.id).prefix_with("(SELECT max(title) FROM app.lists),").where(mine),
    "a prefix of an insert": insert(todos).values(new).prefix_with("/* x */"),
    "a hint": select(todos.c.id).where(mine).with_hint(todos, "ONLY"),
    "a hint of the statement": select(todos.c.id).where(mine).with_statement_hint("OR true"),
    "an operator that is a word": select(todos.c.id).where(
        and_(mine, todos.c.completed.op("OR", precedence=100)(true()))
    ),
    "a comment for an operator": select(todos.c.id).where(mine, todos.c.title.op("--")("x")),
    "a word behind an operator": select(todos.c.id).where(mine, todos.c.title.op("= 'x' OR 'x' =")("x")),
    "upper case": select(todos.c.id, literal_column("(SELECT max(title) FROM APP.todos)")).where(mine),
    "spaces": select(todos.c.id, literal_column("(SELECT max(title) FROM app . todos)")).where(mine),
    "a comment": select(todos.c.id, literal_column("(SELECT max(title) FROM app/**/.todos)")).where(mine),
    "Unicode escapes": select(todos.c.id, literal_column('(SELECT max(title) FROM app.U&"todo\\0073")')).where(mine),
    "a name without quotes": select(unquoted.c.title),
    "a label without quotes": select(
        todos.c.id.label(quoted_name("x, (SELECT max(title) FROM app.lists)", False))
    ).where(mine),
    "a function without quotes": select(getattr(func, quoted_name("now() OR lower", False))("x")),
    "a collation without quotes": select(todos.c.title.collate(quoted_name('"C" OR true', False))).where(mine),
    "a function that runs SQL": select(func.ts_stat("SELECT search FROM app.todos").table_valued("word").c.word),
    "a function that reads a table": select(func.query_to_xml("SELECT * FROM app.todos", True, False, "")),
    "a function that changes the user": select(func.set_config("app.user_id", "bob", False)),
    "a label that adds a column": select(todos.c.id.label(quoted_name("x, version", False))).where(mine),
    "many rows in one VALUES": insert(table("other", column("a"))).values([{"a": literal_column("1")}, {"a": "x"}]),
    "a known function of another schema": select(func.elsewhere.lower("x")),
    "a function of a schema": select(func.app.leak()),
    "an element with @compiles": select(todos.c.id).where(mine, Anything()),
    "an owner that is changed when sent": select(todos.c.id).where(
        todos.c.user_id == bindparam("owner", type_=Shout())
    ),
    "an owner that is wrapped": select(todos.c.id).where(todos.c.user_id == bindparam("owner", type_=Wrapped())),
    "another value that is wrapped": select(todos.c.id).where(mine, todos.c.title == bindparam("x", type_=Wrapped())),
    "an inserted owner that is changed": insert(todos).values(new | {"user_id": bindparam("owner", type_=Shout())}),
    "an owner in the text": select(todos.c.id).where(
        todos.c.user_id == bindparam("owner", type_=Text, literal_execute=True)
    ),
    "a cast to a type with SQL": select(cast(todos.c.title, Cost())).where(mine),
    "a cast with a collation": select(cast(todos.c.title, Text(collation='x" OR "'))).where(mine),
    "a field of EXTRACT with SQL": select(extract("epoch FROM now()) OR (1", todos.c.created_at)).where(mine),
    "a textual ORDER BY": select(todos.c.id).where(mine).order_by(text("(SELECT 1)")),
    "a sample": select(tablesample(todos, 50).c.id).where(mine),
    "a sub-select twice, one of them unbound": select(counted, counted, select(todos.c.id).subquery().c.id),
    "a table of the same name": select(todos.c.id, table("todos", column("id"), schema="app").c.id).where(mine),
}


# What SQLAlchemy says of the statements that are refused here.
pytestmark = pytest.mark.filterwarnings("ignore:Column .* is marked as a member of the primary key")


@pytest.mark.parametrize("name", ADMITTED)
def test_bound_statement_is_admitted(name: str) -> None:
    assert "owner" in needs(ADMITTED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_statement_that_is_not_bound_is_refused(name: str) -> None:
    with pytest.raises(NotScopable):
        needs(REFUSED[name])


@pytest.mark.parametrize("name", NOT_DIRECT)
def test_statement_that_is_bound_indirectly_is_refused(name: str) -> None:
    with pytest.raises(NotScopable):
        needs(NOT_DIRECT[name])


def test_text_that_names_a_table_more_often_is_refused() -> None:
    compiled = select(todos.c.id).where(mine).compile(dialect=DIALECT)
    compiled.string += " UNION SELECT id FROM app.todos"
    with pytest.raises(NotScopable):
        owner_parameters(compiled, owners())


def test_same_sub_select_twice_counts_twice() -> None:
    assert needs(select(counted, counted)) == {"owner"}


@pytest.mark.parametrize(
    "text",
    [
        "app.todos",
        "APP.todos",
        "app . todos",
        'app."todos"',
        '"app" . "todos"',
        "app\n.\nTodos",
        "SELECT 'x'FROM app.todos",
    ],
)
def test_table_is_counted_in_any_spelling(text: str) -> None:
    assert table_references(text, owners()) == {"app.todos": 1}


@pytest.mark.parametrize(
    "text", ["app.todos.title", "x.app.todos", "'app.todos'", 'app."Todos"', "app.todos_old", '"app.todos"']
)
def test_other_name_is_not_counted(text: str) -> None:
    assert not table_references(text, owners())


@pytest.mark.parametrize(
    "text", ["app/**/.todos", "app.--\ntodos", 'U&"app".todos', "$$app.todos$$", "$a$x$a$", "1; 2", "E'\\'"]
)
def test_spelling_that_can_hide_a_table_is_refused(text: str) -> None:
    with pytest.raises(HiddenText):
        table_references(text, owners())


@pytest.mark.parametrize(
    "statement", [select(func.now()), select(literal(1)), select(func.count()).select_from(table("pg_class"))]
)
def test_unowned_table_needs_no_owner(statement: Any) -> None:
    assert needs(statement) == set()


def test_literal_owner_is_compared() -> None:
    assert needs(select(todos).where(todos.c.user_id == "bob")) == {"user_id_1"}
    assert needs(insert(todos).values(user_id="bob", title="x")) == {"user_id"}
    assert needs(update(todos).where(mine).values(user_id="bob")) == {"owner", "user_id"}


def test_execution_parameters_are_compared() -> None:
    assert needs(insert(todos), "user_id", "title") == {"user_id"}
    assert needs(update(todos).where(mine), "user_id") == {"owner", "user_id"}
    with pytest.raises(NotScopable):
        needs(insert(todos), "title")


def test_every_owner_parameter_is_checked() -> None:
    two = select(todos.c.id).where(mine, todos.c.user_id == bindparam("also"))
    assert needs(two) == {"owner", "also"}
    assert needs(select(todos.c.id, other.c.id).where(mine, other.c.user_id == bindparam("also"))) == {"owner", "also"}


def test_false_condition_does_not_bind_a_table() -> None:
    with pytest.raises(NotScopable):
        needs(select(todos).where(false()))


def test_all_statements_of_a_service_are_admitted() -> None:
    build = TodoService.statements
    made = [build.get, build.delete(True), build.update(("title",), True), build.count(())]
    made += [build.page(tuple(TodoService.filters), ((key, True),)) for key in TodoService.sorts]
    assert all(needs(statement) == {"owner"} for statement in made)


def test_every_table_belongs_to_a_user() -> None:
    names = metadata.tables.keys() - {"app.secrets"}  # of the deployment
    assert owners() == {name: "id" if name == "app.users" else "user_id" for name in names}
