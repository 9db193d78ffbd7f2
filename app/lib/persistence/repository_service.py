"""Advanced-alchemy's service on a repository that is bound to one user: the verbs that return model instances."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from advanced_alchemy.repository.typing import PrimaryKeyType
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy import ColumnElement, inspect

from app.lib.persistence.errors import Violations
from app.lib.persistence.repository import Row, UserScopedRepository
from app.lib.persistence.session import Session


class RepositoryService[ModelT: Row](SQLAlchemyAsyncRepositoryService[ModelT, UserScopedRepository[Any]]):
    """Commands, jobs and domain logic call these verbs; they know nothing of quotas, versions sent or the trash.

    A verb joins the transaction of `session.atomic()`; outside of one it is a transaction of its own.
    """

    repository_type = UserScopedRepository
    model: ClassVar[type[Any]]
    base_filter: ClassVar[ColumnElement[bool] | None] = None
    violations: ClassVar[Violations] = {}

    def __init__(self, session: Session, user_id: str) -> None:
        self.session = session
        self._user_id = user_id

    @cached_property
    def repository(self) -> UserScopedRepository[ModelT]:
        """The repository, made at first use: it costs about 100 µs, and most requests run prebuilt statements only."""
        super().__init__(
            self.session,
            model_type=self.model,
            user_id=self._user_id,
            base_filter=self.base_filter,
            violations=self.violations,
        )
        return self._repository_instance

    async def update(self, data: Any, item_id: PrimaryKeyType | None = None, **options: Any) -> ModelT:
        """Write what was sent of a row: `item_id` or else the id in the data says which. Raise `NotFound`."""
        row = await self.to_model(data, "update", options.pop("schema_dump_config", None))
        if item_id is not None:
            stored = await self.repository.get(item_id, id_attribute=options.pop("id_attribute", None))
            row = self.repository.set_key(row, self.repository.get_primary_key_value(stored))
        return await self.repository.update(row, **options)

    async def upsert(self, data: Any, item_id: PrimaryKeyType | None = None, **options: Any) -> ModelT:
        """Update the row, or insert it where there is none."""
        row = await self.to_model(data, "upsert", options.pop("schema_dump_config", None))
        if item_id is not None:
            row = self.repository.set_key(row, item_id)
        return await self.repository.upsert(row, **options)

    async def get_or_upsert(self, *filters: Any, **arguments: Any) -> tuple[ModelT, bool]:
        """Return the row that matches, after writing what was sent; insert one where there is none."""
        return await self.repository.get_or_upsert(*filters, **await self._sent(arguments, "create"))

    async def get_and_update(self, *filters: Any, **arguments: Any) -> tuple[ModelT, bool]:
        """Write what was sent to the row that matches."""
        return await self.repository.get_and_update(*filters, **await self._sent(arguments, "update"))

    async def _sent(self, arguments: Mapping[str, Any], operation: str) -> dict[str, Any]:
        """Convert the fields among the arguments; advanced-alchemy would add the defaults of those not sent."""
        names = inspect(self.model).column_attrs.keys()
        options = {name: value for name, value in arguments.items() if name not in names}
        fields = {name: value for name, value in arguments.items() if name in names}
        row = await self.to_model(fields, operation, options.pop("schema_dump_config", None))
        return options | {name: getattr(row, name) for name in row.model_fields_set}
