"""The one row that a user has of a table, beside `UserScopedService` for those of which they have many."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from msgspec import Struct
from sqlalchemy import ColumnElement, Executable, Table, Text, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.lib.errors import OwnerDeleted
from app.lib.persistence.errors import Violations
from app.lib.persistence.session import Session
from app.lib.persistence.statements import MAX_STATEMENTS, new_value_of
from app.lib.validation.body import Body


class SingletonService[ReadT: Struct]:
    """Reads and writes the row of its user.

    Subclasses name the `model` and the struct to read, whose fields are the columns unless `columns` says otherwise;
    `present` then makes the struct. The `owner` column names the user. A row that is `upsert` need not be
    there before; its `default` struct has the defaults.
    """

    model: ClassVar[type[Any]]
    schema: ClassVar[type[Struct]]
    columns: ClassVar[Sequence[str]] = ()
    owner: ClassVar[str] = "user_id"
    upsert: ClassVar[bool] = True
    violations: ClassVar[Violations] = {}
    statements: ClassVar["SingletonStatements"]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.statements = SingletonStatements(cls)

    def __init__(self, session: Session, user_id: str) -> None:
        self.session = session
        self._owner = user_id

    @classmethod
    def computed_columns(cls, changes: Mapping[str, ColumnElement[Any]]) -> Mapping[str, ColumnElement[Any]]:
        """Give what is written in place of, or beside, the new values."""
        return changes

    async def fetch(self) -> ReadT:
        """Give the row, or what stands for it."""
        rows = await self.session.read(self.statements.get, {"owner": self._owner})
        return self.row_to_schema(rows[0]) if rows else self.default()

    async def patch(self, data: Body) -> ReadT:
        """Set what was sent; a complete body replaces."""
        sent = data.sent()
        if not sent:
            return await self.fetch()
        parameters = {"owner": self._owner} | {new_value_of(name): value for name, value in sent.items()}
        rows = await self.session.write(self.statements.write(tuple(sent)), parameters, self.violations)
        return self.row_to_schema(rows[0]) if rows else self.default()

    async def remove(self) -> None:
        """Remove the row, with what refers to it; safe to repeat."""
        await self.session.write(self.statements.delete, {"owner": self._owner})

    def row_to_schema(self, row: Sequence[Any]) -> ReadT:
        """Make the struct of a row."""
        return self.schema(*row)  # type: ignore[return-value]

    def default(self) -> ReadT:
        """Give what stands for a row that is not there. Raises `OwnerDeleted` where there is always one."""
        if not self.upsert:
            raise OwnerDeleted
        return self.schema()  # type: ignore[return-value]


class SingletonStatements:
    """The SQL of such a row, built once, and bound to the user in `_own`."""

    def __init__(self, service: type[SingletonService[Any]]) -> None:
        self._service = service
        self._table: Table = service.model.__table__
        self._columns = [self._table.c[name] for name in service.columns or service.schema.__struct_fields__]
        self._user = bindparam("owner", type_=Text)
        self._own = self._table.c[service.owner] == self._user
        self.get = select(*self._columns).where(self._own)
        self.delete = delete(self._table).where(self._own)
        self.write = lru_cache(MAX_STATEMENTS)(self._upsert if service.upsert else self._update)

    def _update(self, fields: tuple[str, ...]) -> Executable:
        return update(self._table).where(self._own).values(self._touched(fields)).returning(*self._columns)

    def _upsert(self, fields: tuple[str, ...]) -> Executable:
        made = {self._service.owner: self._user, **self._changes(fields)}
        statement = insert(self._table).values(made)
        statement = statement.on_conflict_do_update(
            index_elements=[self._table.c[self._service.owner]], set_=self._touched(fields), where=self._own
        )
        return statement.returning(*self._columns)

    def _touched(self, fields: tuple[str, ...]) -> dict[str, Any]:
        # now() is when the transaction began; one that waited for the row may have begun before the last write.
        return {"updated_at": func.greatest(func.now(), self._table.c.updated_at), **self._changes(fields)}

    def _changes(self, fields: tuple[str, ...]) -> Mapping[str, ColumnElement[Any]]:
        columns = self._table.c
        return self._service.computed_columns(
            {name: bindparam(new_value_of(name), type_=columns[name].type) for name in fields}
        )
