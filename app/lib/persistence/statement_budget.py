"""A bound on what clients cost by the filters and sorts that they combine: each new combination is a new statement."""

from collections import OrderedDict
from collections.abc import Hashable

from app.lib.rate_limit import RateLimit

MAX_SHAPES = 256  # combinations whose statements are kept, of all users and tables
NEW_PER_MINUTE = 60  # combinations that one user may have built, each in some 4 ms of CPU and a PREPARE


class StatementBudget:
    """Remembers the combinations that were used last, and counts new ones against the user who asks for them."""

    def __init__(self, limit: int = NEW_PER_MINUTE, size: int = MAX_SHAPES) -> None:
        self._limit = RateLimit("combinations", limit)
        self._size = size
        self._known: OrderedDict[Hashable, None] = OrderedDict()

    async def spend(self, user_id: str, shape: Hashable) -> None:
        """Raise `TooManyRequests` where a user has had too many new combinations built."""
        if shape in self._known:
            self._known.move_to_end(shape)
            return
        await self._limit.take(user_id)
        if len(self._known) >= self._size:
            self._known.popitem(last=False)
        self._known[shape] = None
