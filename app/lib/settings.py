"""Load all settings from the environment and `.env`, and report all their problems at once."""

import os
import secrets
import tempfile
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.lib.database_url import ConnectionTarget, parse_database_url
from app.lib.env_file import EnvFileError, Values, read_env_file
from app.lib.errors import OperatorError
from app.lib.setting_types import (
    MIN_SECRET_BYTES,
    Claim,
    Claims,
    DatabaseUrl,
    HeaderNames,
    Hosts,
    HttpUrl,
    Networks,
    OpenPaths,
    Origins,
    PathPrefix,
    PlainNames,
    ReadableFile,
    ResourceUrl,
    Secret,
    StoreUrl,
)
from app.lib.setting_values import INSECURE, MISSING, FilePath, LowerCase, Refused, in_home, without_margin

PROJECT = Path(__file__).resolve().parents[2]
NEW_SECRET = "openssl rand -base64 32"  # noqa: S105 - how to make one

_WHAT_TO_SET = {
    "DATABASE_URL": "set it to postgresql://user:password@host:5432/database",
    "BETTER_AUTH_SECRET": (
        f"set it to the secret of your Better Auth server (a new one: {NEW_SECRET}), "
        "or BETTER_AUTH_JWKS_URL to where it publishes its keys"
    ),
}


class ConfigurationError(OperatorError):
    """The settings are invalid. One line for each problem; none repeats a value, which may be a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The configuration does not hold:\n" + "\n".join(f"  {line}" for line in problems))
        self.problems = problems


class Environment(StrEnum):
    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """The configuration of a process. `load()` reads it from outside; tests construct it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file_encoding="utf-8", hide_input_in_errors=True)

    environment: Annotated[Environment, LowerCase] = Environment.DEVELOPMENT

    database_url: DatabaseUrl | None = None
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    database_pool_overflow: int = Field(default=10, ge=0, le=1000)
    database_pool_timeout: int = Field(default=5, ge=1, le=300)
    database_connect_timeout: float = Field(default=5, gt=0, le=300)
    database_statement_timeout: float = Field(default=15, gt=0, le=3600)
    database_lock_timeout: float = Field(default=2, gt=0, le=3600)
    database_rls: bool = False
    data_dir: FilePath = PROJECT / ".data"

    better_auth_secret: Secret | None = None
    better_auth_secret_previous: Secret | None = None
    better_auth_jwks_url: HttpUrl | None = None
    better_auth_jwks_file: ReadableFile | None = None
    better_auth_issuer: PlainNames = []
    better_auth_audience: PlainNames = []
    resource: ResourceUrl | None = None
    user_id_claims: Claims = ["sub", "id"]
    role_claim: Claim = "role"
    jwt_leeway: float = Field(default=10, ge=0, le=300)

    cors_origins: Origins = []
    cors_allow_headers: HeaderNames = []
    allowed_hosts: Hosts = []
    open_paths: OpenPaths = []
    trusted_proxies: Networks = []
    root_path: PathPrefix = ""
    rate_limit_per_minute: int = Field(default=600, ge=0, le=1_000_000)
    auth_failures_per_minute: int = Field(default=60, ge=0, le=1_000_000)
    rate_limit_store_url: StoreUrl | None = None
    body_limit: int = Field(default=1024 * 1024, ge=1024, le=1024**3)
    client_timeout: float = Field(default=10, gt=0, le=300)
    max_connections: int = Field(default=5000, ge=0, le=1_000_000)
    max_requests_in_flight: int = Field(default=500, ge=0, le=1_000_000)
    max_rows_per_user: int = Field(default=100_000, ge=0, le=2**31 - 1)
    max_requests_per_user: int = Field(default=16, ge=0, le=1_000_000)

    tasks_dialect: bool = True

    log_level: Annotated[Literal["debug", "info", "warning", "error"], LowerCase] = "info"
    log_user_ids: Annotated[Literal["hashed", "plain", "none"], LowerCase] = "hashed"

    @classmethod
    def load(cls) -> Self:
        """Read the environment, and the file that `ENV_FILE` names (`.env` by default).

        Raises `ConfigurationError`. In development without a secret, one is generated and stored.
        """
        in_environment = {name.lower() for name in os.environ}
        file_values = {name.lower(): value for name, value in env_file_values().items()}
        unset = cls.model_fields.keys() & file_values.keys() - in_environment
        from_file: dict[str, Any] = {name: file_values[name] or "" for name in unset}
        try:
            settings = cls(_env_file=None, **from_file)
        except ValidationError as error:
            raise ConfigurationError(list(map(_problem, error.errors()))) from None
        if settings.better_auth_secret is None and not settings.in_production:
            try:
                secret = SecretStr(development_secret(settings.data_dir))
            except OSError as error:
                raise ConfigurationError([f"DATA_DIR cannot be used ({error.strerror})"]) from None
            settings = settings.model_copy(update={"better_auth_secret": secret})
        return settings

    @property
    def in_production(self) -> bool:
        """Whether settings that matter for safety have no defaults."""
        return self.environment is Environment.PRODUCTION

    @property
    def secrets(self) -> list[bytes]:
        """The shared secrets, the current one first, as UTF-8: Better Auth does not decode base64 either."""
        both = (self.better_auth_secret, self.better_auth_secret_previous)
        return [secret.get_secret_value().encode() for secret in both if secret]

    @property
    def connection_target(self) -> ConnectionTarget | None:
        """Where the database is; None for the embedded PostgreSQL."""
        return parse_database_url(self.database_url.get_secret_value()) if self.database_url else None

    @field_validator("resource")
    @classmethod
    def _has_issuers(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not info.data.get("better_auth_issuer"):
            raise ValueError("needs BETTER_AUTH_ISSUER: set it to the issuers of access tokens, with commas")
        return value

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, values: dict[str, object]) -> dict[str, object]:
        """Strip values, drop blank ones, and mark what production requires and lacks."""
        cleaned = {name: without_margin(name, value) for name, value in values.items()}
        cleaned = {name: value for name, value in cleaned.items() if value != "" or name == "environment"}
        # Checked here and not after validation, so that all problems are reported together.
        if str(cleaned.get("environment", "")).lower() == Environment.PRODUCTION:
            key_sources = ("better_auth_secret", "better_auth_jwks_url", "better_auth_jwks_file")
            if not any(cleaned.get(name) for name in key_sources):
                cleaned["better_auth_secret"] = MISSING
            if not cleaned.get("database_url"):
                cleaned["database_url"] = MISSING
            if str(cleaned.get("better_auth_jwks_url") or "").lower().startswith("http:"):
                cleaned["better_auth_jwks_url"] = INSECURE
        return cleaned


def _problem(error: ErrorDetails) -> str:
    name = str(error["loc"][0]).upper() if error["loc"] else "SETTINGS"
    hint = f"; {_WHAT_TO_SET[name]}" if name in _WHAT_TO_SET else ""
    if isinstance(refused := error.get("input"), Refused):
        return f"{name} {refused.reason}{hint}"
    cause = (error.get("ctx") or {}).get("error")
    reason = str(cause) if isinstance(cause, ValueError) else error["msg"]
    return f"{name} {reason}{hint}" if cause else f"{name}: {reason}{hint}"


def env_file_values() -> Values:
    """Return the values of the file that `ENV_FILE` names, `.env` by default. Raises `ConfigurationError`."""
    named = os.environ.get("ENV_FILE")
    if named is not None and not named.strip():  # an empty ENV_FILE switches the file off
        return {}
    try:
        path = PROJECT / ".env" if named is None else in_home(Path(named))
        if path.exists() and not path.is_dir():
            return read_env_file(path)
    except (EnvFileError, OSError, UnicodeDecodeError, ValueError) as error:
        reason = str(error) if isinstance(error, EnvFileError) else "The .env file cannot be read, or is not UTF-8"
        raise ConfigurationError([reason]) from None
    if named is not None:
        raise ConfigurationError(["ENV_FILE names a file that does not exist"])
    return {}


def development_secret(directory: Path) -> str:
    """Return the secret in a file that only its owner can read; generate it the first time."""
    path = directory / "better_auth_secret"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=directory)  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(MIN_SECRET_BYTES))
        with suppress(FileExistsError):  # another process was faster: its secret counts
            os.link(draft, path)
        Path(draft).unlink()
    return path.read_text()
