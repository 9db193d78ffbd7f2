"""Services whose rows have an order that the user makes: each has a position, and can be moved next to another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple
from uuid import UUID

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Executable,
    Integer,
    Null,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    case,
    column,
    func,
    null,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.lib.errors import FieldError, Invalid, NotFound, QuotaExceeded
from app.lib.persistence.fractional_index import between, evenly_spaced, position_at_end, safe_lower_bound
from app.lib.persistence.repository import Row
from app.lib.persistence.statements import Statements, new_value_of
from app.lib.persistence.user_scoped import UserScopedService
from app.lib.validation.body import Body

type Side = Literal["before", "after"]
_LOCK_SEED = 1  # apart from other locks of the same user
_REACH = 32  # rows on each side
_LOCKED = "the transaction that holds the lock"
_ROOM = "how many more rows the transaction can insert"


class Place(NamedTuple):
    """Where a row stands, and what a row that is moved next to it has in common with it then."""

    id: UUID
    position: str
    end: str  # the position that a row at the end would get now
    shared: dict[str, Any]


class OrderStatements:
    """The SQL of the order of an owned table."""

    def __init__(
        self, statements: Statements, model: type[Any], within: Sequence[str], inherited: Sequence[str]
    ) -> None:
        self._table = model.__table__
        self._statements = statements
        self._own = statements.own(self._table)
        self._written = statements.written
        columns = self._table.c
        end = self.end({name: self._of_other(name) for name in within})
        shared = (columns[name] for name in (*within, *inherited))
        shown = (columns.id, columns.position, end, *shared)
        named = columns.id.in_((bindparam("key", type_=columns.id.type), bindparam("other", type_=columns.id.type)))
        up_to = select(columns.id).where(self._own).limit(bindparam("most", type_=Integer)).subquery()
        self.count = select(func.count()).select_from(up_to)
        self.places = select(*shown).where(statements.mine, named)
        owner = bindparam("owner", type_=Text)
        self.lock = select(func.pg_advisory_xact_lock(func.hashtextextended(owner, _LOCK_SEED)))

    def end(self, within: Mapping[str, ColumnElement[Any]]) -> ColumnElement[str]:
        """Return the position behind the last of the rows with these values, hidden rows included.

        A null finds the rows where the column is null. Each case looks at the end of an index, which is why the order
        names the columns before the position: PostgreSQL does not see that all of them are null.
        """
        rows = self._table.alias()
        order = [*(rows.c[name].desc() for name in within), rows.c.position.desc()]
        last = select(rows.c.position).where(self._statements.own(rows)).order_by(*order).limit(1)
        found = union_all(
            *(select(last.where(*same).subquery()) for same in _cases(rows, [*within.items()]))
        ).subquery()
        return select(position_at_end(func.max(found.c.position, type_=Text))).scalar_subquery()

    def _of_other(self, name: str) -> ColumnElement[Any]:
        other = self._table.alias()
        row = (self._statements.own(other), other.c.id == bindparam("other", type_=other.c.id.type))
        return select(other.c[name]).where(*row).scalar_subquery()

    def beside(self, side: Side, within: dict[str, Any]) -> Executable:
        """Select the rows next to a place, the nearest first; hidden rows count, for they may come back."""
        columns = self._table.c
        row = tuple_(columns.position, columns.id)
        place = tuple_(bindparam("place", type_=Text), bindparam("place_id", type_=columns.id.type))
        beyond = row > place if side == "after" else row < place
        order = (columns.position, columns.id)
        ordered = order if side == "after" else tuple(column.desc() for column in order)
        found = self._among(select(columns.id, columns.position), within)
        found = found.where(beyond, columns.id != bindparam("key", type_=columns.id.type))
        return found.order_by(*ordered).limit(bindparam("reach", type_=Integer))

    def spread(self, within: dict[str, Any]) -> Executable:
        """Give rows new positions, but for those that have gone elsewhere meanwhile."""
        columns = self._table.c
        arrays = (bindparam("ids", type_=ARRAY(columns.id.type)), bindparam("positions", type_=ARRAY(Text)))
        pair = (column("id", columns.id.type), column("position", Text))
        new = func.unnest(*arrays).table_valued(*pair, name="new").render_derived()
        values = self._written({"position": new.c.position})
        return self._among(update(self._table), within).where(columns.id == new.c.id).values(values)

    def _among[StatementT: (Select[Any], Update)](self, statement: StatementT, within: dict[str, Any]) -> StatementT:
        same = (
            self._table.c[name].is_(None) if value is None else self._table.c[name] == bindparam(f"within_{name}")
            for name, value in within.items()
        )
        return statement.where(self._own, *same)


class OrderedService[ModelT: Row, ReadT: Struct](UserScopedService[ModelT, ReadT]):
    """A user-scoped service of rows with a `position`, which orders those that have the columns `within` in common.

    A row that is moved next to another takes over these, and those that are `inherited`.
    """

    group_by: ClassVar[Sequence[str]] = ()
    inherited: ClassVar[Sequence[str]] = ()
    order: ClassVar[OrderStatements]

    @classmethod
    def build(cls) -> None:
        """Build the statements of the order too."""
        super().build()
        cls.order = OrderStatements(cls.statements, cls.model, cls.group_by, cls.inherited)

    @classmethod
    def computed_columns(
        cls, changes: Mapping[str, ColumnElement[Any]], table: Table | None
    ) -> dict[str, ColumnElement[Any]]:
        """Put a new row, and one that comes into another list, behind the last one there."""
        if "position" in changes:
            return {}
        if table is None:
            return {"position": cls.order.end({name: changes.get(name, null()) for name in cls.group_by})}
        place = {name: changes[name] for name in cls.group_by if name in changes}
        if not place or len(place) < len(cls.group_by):
            return {}
        stays = and_(*(table.c[name].is_not_distinct_from(value) for name, value in place.items()))
        return {"position": case((stays, table.c.position), else_=cls.order.end(place))}

    async def lock(self) -> None:
        """Let no other transaction of this user that locks pass until the end of this one."""
        transaction = self.session.sync_session.get_transaction()
        if self.session.info.get(_LOCKED) is not transaction:
            await self._read(self.order.lock)
            self.session.info[_LOCKED] = transaction

    async def insert(self, data: Body) -> ReadT:
        """Insert a row, as the last one. Raises `QuotaExceeded`."""
        if self._take_room() or await self._quota.grants(self):
            return await super().insert(data)
        async with self.session.atomic(self.violations):
            await self.lock()
            room = self._quota.limit - await self.count_up_to(self._quota.limit)
            if room <= 0:
                raise QuotaExceeded(self._quota.limit)
            self.session.info[_ROOM, self.quota_key] = (self.session.sync_session.get_transaction(), room - 1)
            return await super().insert(data)

    def _take_room(self) -> bool:
        """Count down what was found under the lock, which is held until the end of the transaction."""
        transaction, room = self.session.info.get((_ROOM, self.quota_key), (None, 0))
        if not room or transaction is not self.session.sync_session.get_transaction():
            return False
        self.session.info[_ROOM, self.quota_key] = (transaction, room - 1)
        return True

    @property
    def quota_key(self) -> tuple[str, str]:
        """The user and the table, whose rows count together."""
        return self._user_id, self.model.__table__.name

    async def count_up_to(self, limit: int) -> int:
        """Count the user's rows, hidden rows included, at most to the limit."""
        return int((await self._read(self.order.count, most=limit))[0][0])

    async def places(self, item_id: UUID, other_id: UUID, pointer: str) -> tuple[Place, Place]:
        """Give the places of a row and of another. Raises `NotFound`, or `Invalid` where it is the other's fault."""
        rows = await self._read(self.order.places, key=item_id, other=other_id)
        shared = (*self.group_by, *self.inherited)
        found = {row[0]: Place(row[0], row[1], row[2], dict(zip(shared, row[3:], strict=True))) for row in rows}
        if item_id not in found:
            raise NotFound
        if other_id == item_id or other_id not in found:
            raise Invalid([FieldError("Expected the id of another one of yours", pointer=pointer)])
        return found[item_id], found[other_id]

    async def position_beside(self, item_id: UUID, other: Place, side: Side) -> str:
        """Give a position right before or after another row, making room where there is none."""
        beside = await self._beside(item_id, other, side, 1)
        neighbour = beside[0][1] if beside else None
        if side == "before":
            position = between(neighbour or "", other.position)
        elif neighbour is None and other.position < other.end:  # not so where they cannot grow any more
            position = other.end
        else:
            position = between(other.position, neighbour)
        return position or await self._make_room(item_id, other, side)

    async def _make_room(self, item_id: UUID, other: Place, side: Side) -> str:
        """Spread the rows around a place: few of them, for else each would be a new version to all who know it."""
        reach, places = _REACH, None
        while places is None:
            reach *= 2
            before = [*reversed(await self._beside(item_id, other, "before", reach + 1))]
            after = await self._beside(item_id, other, "after", reach + 1)
            low = before.pop(0)[1] if len(before) > reach else ""
            after = [(other.id, other.position), *after]
            high = after.pop()[1] if len(after) > reach + 1 else max(after[-1][1], safe_lower_bound(other.end))
            places = evenly_spaced(low, high, len(before) + len(after) + 1)
        position = places.pop(len(before) + (side == "after"))
        moved = {"ids": [row[0] for row in (*before, *after)], "positions": places}
        within = self._within(other)
        await self.session.write(self.order.spread(within), {"owner": self._user_id} | moved | _bound(within))
        return position

    async def _beside(self, item_id: UUID, other: Place, side: Side, reach: int) -> list[tuple[UUID, str]]:
        within = self._within(other)
        place = {"key": item_id, "place": other.position, "place_id": other.id, "reach": reach}
        rows = await self._read(self.order.beside(side, within), **place, **_bound(within))
        return [(row[0], row[1]) for row in rows]

    def _within(self, place: Place) -> dict[str, Any]:
        return {name: place.shared[name] for name in self.group_by}

    async def put(self, item_id: UUID, columns: dict[str, Any]) -> ReadT:
        """Write columns that clients do not write themselves. Raises `NotFound`, `PreconditionFailed`."""
        statement = self.statements.update(tuple(columns), self._condition is not None)
        values = {new_value_of(name): value for name, value in columns.items()}
        rows = await self._write(statement, item_id, values)
        return self.row_to_schema(rows[0]) if rows else await self._raise_missing_or_stale(item_id)


def _bound(within: dict[str, Any]) -> dict[str, Any]:
    return {f"within_{name}": value for name, value in within.items() if value is not None}


def _cases(rows: Any, within: Sequence[tuple[str, ColumnElement[Any]]]) -> Iterator[list[ColumnElement[bool]]]:
    """Yield the conditions for each way in which the values may be null, for `IS NOT DISTINCT FROM` uses no index."""
    if not within:
        yield []
        return
    (name, value), *further = within
    for conditions in _cases(rows, further):
        if not isinstance(value, Null):
            yield [rows.c[name] == value, *conditions]
        yield [rows.c[name].is_(None), value.is_(None), *conditions]
