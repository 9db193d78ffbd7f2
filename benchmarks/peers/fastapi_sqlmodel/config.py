import re
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url


class Settings(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore")

    database_url: str
    better_auth_secret: Annotated[str, Field(min_length=32)]
    better_auth_issuer: str | None = None
    better_auth_audience: str | None = None
    cors_origins: str = ""
    body_limit: int = 1024 * 1024
    database_pool_size: int = 10
    database_pool_overflow: int = 10
    # SQLModel's documentation refreshes after each commit. With `expire_on_commit=False` and values made in Python
    # the refresh reads nothing new. `PEER_REFRESH=false` measures the peer without it.
    peer_refresh: bool = True

    @property
    def asyncpg_url(self) -> str:
        # SQLAlchemy would pick psycopg for "postgresql://", and asyncpg calls `sslmode` "ssl".
        url = make_url(re.sub("^postgres://", "postgresql://", self.database_url)).set(drivername="postgresql+asyncpg")
        query = {("ssl" if key == "sslmode" else key): value for key, value in url.query.items()}
        return url.set(query=query).render_as_string(hide_password=False)


settings = Settings()
