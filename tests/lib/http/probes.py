"""The application with handlers of a test beside its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from litestar import Controller, Litestar

from app import domain
from app.lib.settings import Settings
from app.main import create_app
from tests.support import running


def app_with(settings: Settings, *controllers: type[Controller]) -> Litestar:
    """Make the application with these controllers, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain, "CONTROLLERS", (*domain.CONTROLLERS, *controllers))
        return create_app(settings)


@asynccontextmanager
async def running_with(settings: Settings, *controllers: type[Controller]) -> AsyncIterator[Litestar]:
    """Run the application with these controllers, too."""
    async with running(app_with(settings, *controllers)) as app:
        yield app
