from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from benchmarks.peers.fastapi_sqlmodel.config import settings
from benchmarks.peers.fastapi_sqlmodel.models import SCHEMA

engine = create_async_engine(
    settings.asyncpg_url,
    pool_size=settings.database_pool_size,
    max_overflow=settings.database_pool_overflow,
)


async def init_db() -> None:
    async with engine.begin() as connection:
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        await connection.run_sync(SQLModel.metadata.create_all)
