"""New combinations of filters and sorts: few for a user in a minute."""

from itertools import permutations
from typing import Any

import pytest

from app.domain.todos.services import TodoService
from app.lib.errors import TooManyRequests
from app.lib.persistence.statement_budget import NEW_PER_MINUTE, StatementBudget
from tests.support import Client, assert_problem


class TestStatementBudget:
    async def test_known_statement_shapes_are_free(self) -> None:
        budget = StatementBudget(limit=2, size=2)
        for _ in range(5):
            await budget.spend("alice", "a")
            await budget.spend("alice", "b")
        with pytest.raises(TooManyRequests):
            await budget.spend("alice", "c")
        await budget.spend("bob", "c")
        await budget.spend("alice", "c")

    async def test_evicted_statement_shape_costs_again(self) -> None:
        budget = StatementBudget(limit=3, size=1)
        for shape in "aba":
            await budget.spend("alice", shape)
        with pytest.raises(TooManyRequests):
            await budget.spend("alice", "b")


async def test_new_statement_shapes_per_minute_are_limited(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.lib.persistence.user_scoped.BUDGET", StatementBudget())
    shapes: list[object] = []
    page = TodoService.statements.page

    def build(*shape: Any) -> object:
        shapes.append(shape)
        return page(*shape)

    monkeypatch.setattr(TodoService.statements, "page", build)
    sorts = [",".join(keys) for keys in permutations(("title", "due_at", "priority", "position"), 4)] * 4
    filters = ["", "&completed=true", "&parent_id=none", "&due=none"]
    paths = [f"{alice.todos()}?sort={sort}{filters[at // 24]}" for at, sort in enumerate(sorts)]
    answers = [await alice.get(path) for path in paths]
    assert [answer.status_code for answer in answers[:NEW_PER_MINUTE]] == [200] * NEW_PER_MINUTE
    problem = assert_problem(answers[-1], 429)
    assert int(answers[-1].headers["retry-after"]) > 0, problem
    assert len(set(shapes)) <= NEW_PER_MINUTE + 3  # some allowance comes back meanwhile
    assert (await alice.get(paths[0])).status_code == 200
