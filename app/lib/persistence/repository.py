"""Advanced-alchemy's repository, bound to one user."""

from collections.abc import Callable, Sequence
from functools import wraps
from itertools import batched
from typing import Any, Protocol, override

from advanced_alchemy.base import ModelProtocol
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.repository._util import get_instrumented_attr, validate_composite_pk_value
from advanced_alchemy.repository.typing import PrimaryKeyType
from sqlalchemy import ColumnElement, Select, func, inspect, literal, select, tuple_
from sqlalchemy.orm.exc import StaleDataError

from app.lib.errors import Conflict, NotFound
from app.lib.persistence.errors import Violations
from app.lib.persistence.scope_guard import UnscopedStatement
from app.lib.persistence.session import NONE, Session


class Row(ModelProtocol, Protocol):
    """An instance of a SQLModel table class."""

    @property
    def model_fields_set(self) -> set[str]:
        """The fields that were passed to the constructor, or assigned."""


def in_transaction[VerbT: Callable[..., Any]](verb: VerbT) -> VerbT:
    """Run a verb in the transaction that `session.atomic()` has begun, or in its own, committed on return."""

    @wraps(verb)
    async def run(self: "UserScopedRepository[Any]", *args: Any, **options: Any) -> Any:
        async with self.session.atomic(self.violations):
            return await verb(self, *args, **options)

    return run  # type: ignore[return-value]


class UserScopedRepository[ModelT: Row](SQLAlchemyAsyncRepository[ModelT]):
    """Reads and writes the rows of one user: every statement is bound to them, whatever its filters are.

    A row's key is its id, to which the user is added. An update changes only the fields that were set: SQLModel's
    constructor sets the defaults of all others, which advanced-alchemy would write. Errors are those of
    `app.lib.errors`.
    """

    session: Session

    def __init__(
        self,
        *,
        session: Session,
        model_type: type[ModelT],
        user_id: str,
        base_filter: ColumnElement[bool] | None = None,
        violations: Violations = NONE,
        **options: Any,
    ) -> None:
        self.model_type = model_type
        self.violations = violations
        table = inspect(model_type).local_table
        self._user_id = user_id
        self._owner: str = table.info.get("owner", "user_id")
        self._bound = [table.c[self._owner] == user_id, *([] if base_filter is None else [base_filter])]
        # Else the errors of the database would be wrapped, in texts that `atomic()` cannot translate.
        super().__init__(session=session, **options | {"wrap_exceptions": False})
        self._local_keys = [name for name in self._pk_attr_names if name != self._owner]

    # `list`, `list_and_count` and `exists` call one of these.
    get = in_transaction(SQLAlchemyAsyncRepository.get)
    get_one = in_transaction(SQLAlchemyAsyncRepository.get_one)
    get_one_or_none = in_transaction(SQLAlchemyAsyncRepository.get_one_or_none)
    get_many = in_transaction(SQLAlchemyAsyncRepository.get_many)
    get_many_and_count = in_transaction(SQLAlchemyAsyncRepository.get_many_and_count)
    count = in_transaction(SQLAlchemyAsyncRepository.count)
    delete = in_transaction(SQLAlchemyAsyncRepository.delete)
    delete_where = in_transaction(SQLAlchemyAsyncRepository.delete_where)
    get_or_upsert = in_transaction(SQLAlchemyAsyncRepository.get_or_upsert)
    get_and_update = in_transaction(SQLAlchemyAsyncRepository.get_and_update)

    @override
    @in_transaction
    async def add(self, data: ModelT, **options: Any) -> ModelT:
        """Insert a row of the user."""
        return await super().add(self._stamp(data), **options)

    @override
    @in_transaction
    async def add_many(self, data: Sequence[ModelT], **options: Any) -> Sequence[ModelT]:
        """Insert rows of the user."""
        return await super().add_many([self._stamp(row) for row in data], **options)

    @override
    @in_transaction
    async def update(self, data: ModelT, **options: Any) -> ModelT:
        """Write the fields that were set. Raise `NotFound`, or `Conflict` after a write that came in between."""
        return await super().update(self._sparse(data), **options)

    @override
    @in_transaction
    async def upsert(
        self,
        data: ModelT,
        *,
        match_fields: Sequence[str] | str | None = None,
        auto_commit: bool | None = None,
        auto_expunge: bool | None = None,
        auto_refresh: bool | None = None,
        **options: Any,
    ) -> ModelT:
        """Update the row with the same id, or `match_fields`; insert one where there is none."""
        names = self._names_to_match(match_fields)
        existing = await self.get_one_or_none(**{name: getattr(self._stamp(data), name) for name in names})
        ends = {"auto_commit": auto_commit, "auto_expunge": auto_expunge, "auto_refresh": auto_refresh}
        if existing is None:
            return await self.add(data, **ends)
        return await self.update(self.set_key(data, self.get_primary_key_value(existing)), **ends, **options)

    @override
    @in_transaction
    async def update_many(
        self,
        data: list[ModelT],
        *,
        auto_commit: bool | None = None,
        auto_expunge: bool | None = None,
        **options: Any,
    ) -> list[ModelT]:
        """Write the fields that were set, of all rows or of none. Raise `NotFound`, `Conflict`."""
        names = self._names_to_match(None)
        stored = await self._stored(data, names, **options)
        rows = [self._assign(self.check_not_found(stored.get(_values(row, names))), row) for row in data]
        return await self._finish(rows, auto_commit, auto_expunge)

    @override
    @in_transaction
    async def upsert_many(
        self,
        data: list[ModelT],
        *,
        match_fields: Sequence[str] | str | None = None,
        no_merge: bool = True,
        chunk_size: int | None = None,
        auto_commit: bool | None = None,
        auto_expunge: bool | None = None,
        **options: Any,
    ) -> list[ModelT]:
        """Update the rows with the same ids, or `match_fields`; insert the others. There is no MERGE: `no_merge`."""
        del no_merge
        names = self._names_to_match(match_fields)
        stored = await self._stored(data, names, chunk_size, **options)
        rows = []
        for row in data:
            values = _values(row, names)
            rows.append(self._assign(stored[values], row) if values in stored else row)
            if None not in values:
                stored.setdefault(values, row)
        self.session.add_all(rows)
        return await self._finish(rows, auto_commit, auto_expunge)

    @override
    @in_transaction
    async def delete_many(
        self,
        item_ids: Sequence[PrimaryKeyType],
        *,
        id_attribute: Any = None,
        chunk_size: int | None = None,
        **options: Any,
    ) -> Sequence[ModelT]:
        """Delete the rows with these ids; those that are not there are passed over."""
        column = self._column(id_attribute or self._local_keys[0])
        ids = item_ids if id_attribute else [self._local_id(key) for key in item_ids]
        deleted: list[ModelT] = []
        for chunk in batched(ids, self._get_insertmanyvalues_max_parameters(chunk_size), strict=False):
            deleted += await self.delete_where(column.in_(chunk), **options)
        return deleted

    @override
    @classmethod
    async def check_health(cls, session: Any) -> bool:
        """Return whether the database answers."""
        async with session.atomic():
            return bool(await session.scalar(select(literal(True))))

    @override
    @staticmethod
    def check_not_found(item_or_none: ModelT | None) -> ModelT:
        """Raise `NotFound` for None."""
        if item_or_none is None:
            raise NotFound
        return item_or_none

    def set_key(self, row: ModelT, item_id: PrimaryKeyType) -> ModelT:
        """Set the id of a row that was not read from the database."""
        if inspect(row).key is None and self._local_keys:
            setattr(row, self._local_keys[0], self._local_id(item_id))
        return row

    def sent(self, row: ModelT) -> dict[str, Any]:
        """Return the fields that were set, other than the key; of a row that was read, those that have changed."""
        state = inspect(row)
        changed = (
            {each.key for each in state.attrs if each.history.has_changes()} if state.key else row.model_fields_set
        )
        return {name: getattr(row, name) for name in changed if name not in self._pk_attr_names}

    @override
    def _get_base_stmt(self, *, statement: Any, loader_options: Any, execution_options: Any) -> Any:  # type: ignore[override]
        """Bind what each verb begins its statement with, also a `statement` of the caller."""
        statement = super()._get_base_stmt(
            statement=statement, loader_options=loader_options, execution_options=execution_options
        )
        return statement.where(*self._bound)

    @override
    @staticmethod
    def _get_count_stmt(statement: Select[Any], *_: Any, **__: Any) -> Any:
        """Count without the parent's `text("1")`: the scope guard refuses text."""
        counted = statement.with_only_columns(func.count(), maintain_column_froms=True)
        return counted.limit(None).offset(None).order_by(None)

    @override
    def _build_pk_filter(self, pk_value: PrimaryKeyType) -> ColumnElement[bool]:
        if not self._local_keys:
            return super()._build_pk_filter(pk_value)
        return super()._build_pk_filter({self._owner: self._user_id, self._local_keys[0]: self._local_id(pk_value)})

    def _local_id(self, key: PrimaryKeyType) -> Any:
        """Return the id of a key, which may be an id alone. Raise `UnscopedStatement` for a row of another user."""
        if not isinstance(key, tuple | dict):
            return key
        owner, local = validate_composite_pk_value(key, (self._owner, *self._local_keys), self.model_type.__name__)
        self._check_owner(owner)
        return local

    def _stamp(self, row: ModelT) -> ModelT:
        """Set the user of a row. Raise `UnscopedStatement` for a row of another user."""
        owner = getattr(row, self._owner)
        if owner is None:
            setattr(row, self._owner, self._user_id)
        else:
            self._check_owner(owner)
        return row

    def _check_owner(self, user_id: object) -> None:
        if user_id != self._user_id:
            raise UnscopedStatement(f"a row of {self.model_type.__name__} that is not the user's")

    def _sparse(self, row: ModelT) -> ModelT:
        """Return an instance with only the key and the fields that were set, as advanced-alchemy expects one."""
        self._stamp(row)
        if inspect(row).session is self.session.sync_session:
            return row
        sparse: ModelT = inspect(self.model_type).class_manager.new_instance()
        for name, value in (self.sent(row) | {name: getattr(row, name) for name in self._pk_attr_names}).items():
            setattr(sparse, name, value)
        return sparse

    def _assign(self, row: ModelT, new: ModelT) -> ModelT:
        for name, value in {} if row is new else self.sent(new).items():
            setattr(row, name, value)
        return row

    def _names_to_match(self, match_fields: Any) -> Sequence[str]:
        return self._get_match_fields(match_fields) or self._local_keys or self._pk_attr_names

    async def _stored(
        self, rows: Sequence[ModelT], names: Sequence[str], chunk_size: int | None = None, **options: Any
    ) -> dict[tuple[Any, ...], ModelT]:
        """Return the stored rows that have the values of these fields in common with one of the rows."""
        columns = tuple_(*(self._column(name) for name in names))
        stored: dict[tuple[Any, ...], ModelT] = {}
        size = max(1, self._get_insertmanyvalues_max_parameters(chunk_size) // len(names))
        for chunk in batched(rows, size, strict=False):
            values = [_values(self._stamp(row), names) for row in chunk]
            stored |= {_values(row, names): row for row in await self.get_many(columns.in_(values), **options)}
        return stored

    async def _finish(self, rows: list[ModelT], auto_commit: bool | None, auto_expunge: bool | None) -> list[ModelT]:
        await self._flush_or_commit(auto_commit)
        for row in rows:
            self._expunge(row, auto_expunge)
        return rows

    @override
    async def _flush_or_commit(self, auto_commit: bool | None) -> None:
        """Flush; who has begun the transaction commits it."""
        if auto_commit or self.auto_commit:
            raise ValueError("A verb commits by itself, or `session.atomic()` at its end: auto_commit has no place")
        try:
            await self.session.flush()
        except StaleDataError as error:
            raise Conflict("The row was changed at the same time") from error

    def _column(self, name: Any) -> Any:
        return get_instrumented_attr(self.model_type, name)


def _values(row: object, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in names)
