from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from benchmarks.peers.fastapi_sqlmodel.config import settings
from benchmarks.peers.fastapi_sqlmodel.db import engine, init_db
from benchmarks.peers.fastapi_sqlmodel.deps import bearer, get_current_user
from benchmarks.peers.fastapi_sqlmodel.errors import ErrorHandlers
from benchmarks.peers.fastapi_sqlmodel.middleware import EnvelopeMiddleware
from benchmarks.peers.fastapi_sqlmodel.routes import router


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await init_db()
    yield
    await engine.dispose()


app = FastAPI(
    title="Todos",
    lifespan=lifespan,
    # Not `include_router()`: an included router is matched twice for every request.
    routes=router.routes,
    openapi_url=None,
    redirect_slashes=False,
)
ErrorHandlers(app, get_current_user, bearer)
app.add_middleware(EnvelopeMiddleware, body_limit=settings.body_limit)
if settings.cors_origins:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins.split(","),
        allow_methods=["*"],
        allow_headers=["*"],
    )
