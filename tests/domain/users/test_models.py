"""The tables of users and preferences: a second wall behind the schemas."""

from typing import Any
from uuid import UUID

import pytest
from litestar import Litestar
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from app.db.base import table_of
from app.domain.users.models import Preferences
from app.lib.persistence.errors import constraint_name
from tests.factories import new_user_id, users

preferences = table_of(Preferences)

REFUSED_USERS: dict[str, list[dict[str, Any]]] = {
    "ck_users_id_length": [{"id": ""}, {"id": "x" * 129}],
    "ck_users_bio_length": [{"bio": "x" * 2001}],
}
REFUSED_PREFERENCES: dict[str, list[dict[str, Any]]] = {
    "ck_preferences_theme_known": [{"theme": value} for value in ("", "Dark", "blue")],
    "ck_preferences_language_length": [{"language": ""}, {"language": "x" * 101}],
    "ck_preferences_week_start_known": [{"week_start": value} for value in ("", "friday")],
    "ck_preferences_default_priority_known": [{"default_priority": value} for value in ("", "urgent")],
    "fk_preferences_default_list_id": [{"default_list_id": UUID(int=7)}],
    "fk_preferences_user_id": [{"user_id": "nobody"}],
}


def each(refused: dict[str, list[dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, values) for name, cases in refused.items() for values in cases]


async def add(app: Litestar, user: dict[str, Any], liked: dict[str, Any] | None = None) -> None:
    async with app.state.database.begin(unscoped="tests") as connection:
        await connection.execute(insert(users), user)
        if liked is not None:
            await connection.execute(insert(preferences), {"user_id": user["id"]} | liked)


@pytest.mark.parametrize(("name", "values"), each(REFUSED_USERS))
async def test_users_table_refuses_invalid_rows(app: Litestar, name: str, values: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError) as refused:
        await add(app, {"id": new_user_id()} | values)
    assert constraint_name(refused.value) == name


@pytest.mark.parametrize(("name", "values"), each(REFUSED_PREFERENCES))
async def test_preferences_table_refuses_invalid_rows(app: Litestar, name: str, values: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError) as refused:
        await add(app, {"id": new_user_id()}, values)
    assert constraint_name(refused.value) == name


async def test_column_defaults_are_sufficient(app: Litestar) -> None:
    user_id = new_user_id()
    await add(app, {"id": user_id}, {})
    async with app.state.database.begin(unscoped="tests") as connection:
        row = (await connection.execute(select(users).where(users.c.id == user_id))).one()
        assert (row.time_zone, row.bio, row.deactivated_at) == ("UTC", None, None)


def test_every_constraint_has_a_case() -> None:
    for table, refused in ((users, REFUSED_USERS), (preferences, REFUSED_PREFERENCES)):
        keys = {f"pk_{table.name}"}
        assert {str(constraint.name) for constraint in table.constraints} - keys == set(refused)
