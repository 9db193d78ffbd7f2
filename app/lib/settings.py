"""Every setting, from the environment and `.env`, validated at start with all its problems at once."""

import os
import re
import secrets
import tempfile
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.lib.database_url import ConnectionTarget, DatabaseUrlError, parse_database_url
from app.lib.env_file import EnvFileError, Values, read_env_file
from app.lib.errors import OperatorError
from app.lib.origins import each, normalise_host, normalise_origin, normalise_url
from app.lib.setting_values import (
    INSECURE,
    MISSING,
    CommaSeparated,
    FilePath,
    LowerCase,
    Refused,
    check_secret_margin,
    claim,
    in_home,
    network,
    plain_name,
    without_margin,
)

PROJECT = Path(__file__).resolve().parents[2]
MIN_SECRET_BYTES = 32  # RFC 7518, 3.2: at least the size of the hash of HS256
_RESOURCE = re.compile(r"[Hh][Tt]{2}[Pp][Ss]?://[^\s/?#@\\]+(/[^\s?#\\]*)?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'+.^_`|~-]+")
PATH_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")
NEW_SECRET = "openssl rand -base64 32"  # noqa: S105 - how to make one
STORE_SCHEMES = ("redis", "rediss", "valkey", "valkeys")
HEALTH_PATH = "/api/health"
OPENABLE_PATHS = (HEALTH_PATH, "/api/schema", "/api/schema/openapi.json")

_WHAT_TO_SET = {
    "DATABASE_URL": "set it to postgresql://user:password@host:5432/database",
    "BETTER_AUTH_SECRET": (
        f"set it to the secret of your Better Auth server (a new one: {NEW_SECRET}), "
        "or BETTER_AUTH_JWKS_URL to where it publishes its keys"
    ),
}


class ConfigurationError(OperatorError):
    """The settings do not hold; one line for each problem, and none repeats a value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The configuration does not hold:\n" + "\n".join(f"  {line}" for line in problems))
        self.problems = problems


class Environment(StrEnum):
    """Where the process runs; production has no default that matters for safety."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """The configuration of one process. `load()` reads it; tests construct it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file_encoding="utf-8", hide_input_in_errors=True)

    environment: Annotated[Environment, LowerCase] = Environment.DEVELOPMENT

    database_url: SecretStr | None = None
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    database_pool_overflow: int = Field(default=10, ge=0, le=1000)
    database_pool_timeout: int = Field(default=5, ge=1, le=300)
    database_connect_timeout: float = Field(default=5, gt=0, le=300)
    database_statement_timeout: float = Field(default=15, gt=0, le=3600)
    database_lock_timeout: float = Field(default=2, gt=0, le=3600)
    database_rls: bool = False
    data_dir: FilePath = PROJECT / ".data"

    better_auth_secret: SecretStr | None = None
    better_auth_secret_previous: SecretStr | None = None
    better_auth_jwks_url: str | None = None
    better_auth_jwks_file: FilePath | None = None
    better_auth_issuer: CommaSeparated = []
    better_auth_audience: CommaSeparated = []
    resource: str | None = None
    user_id_claims: CommaSeparated = ["sub", "id"]
    role_claim: str = Field(default="role", min_length=1)
    jwt_leeway: float = Field(default=10, ge=0, le=300)

    cors_origins: CommaSeparated = []
    cors_allow_headers: CommaSeparated = []
    allowed_hosts: CommaSeparated = []
    open_paths: CommaSeparated = []
    trusted_proxies: CommaSeparated = []
    root_path: str = ""
    rate_limit_per_minute: int = Field(default=600, ge=0, le=1_000_000)
    auth_failures_per_minute: int = Field(default=60, ge=0, le=1_000_000)
    rate_limit_store_url: SecretStr | None = None
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

        Raises `ConfigurationError` with all problems. In development without a secret, one is made and kept.
        """
        in_environment = {name.lower() for name in os.environ}
        in_file = {name.lower(): value for name, value in env_file_values().items()}
        chosen = {name: in_file[name] or "" for name in cls.model_fields.keys() & in_file.keys() - in_environment}
        try:
            settings = cls(_env_file=None, **cast("dict[str, Any]", chosen))
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
        """Whether safety has no defaults."""
        return self.environment is Environment.PRODUCTION

    @property
    def secrets(self) -> list[bytes]:
        """The shared secrets' UTF-8 bytes, as Better Auth takes them, the current one first."""
        given = (self.better_auth_secret, self.better_auth_secret_previous)
        return [secret.get_secret_value().encode() for secret in given if secret]

    @property
    def connection_target(self) -> ConnectionTarget | None:
        """Where the database is; None means the embedded one."""
        return parse_database_url(self.database_url.get_secret_value()) if self.database_url else None

    @field_validator("database_url")
    @classmethod
    def _usable_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_database_url(value.get_secret_value())
        return value

    @field_validator("better_auth_secret", "better_auth_secret_previous")
    @classmethod
    def _long_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            secret = value.get_secret_value()
            check_secret_margin(secret)
            if (size := len(secret.encode())) < MIN_SECRET_BYTES:
                raise ValueError(f"is {size} bytes long, at least {MIN_SECRET_BYTES} are needed")
        return value

    @field_validator("rate_limit_store_url")
    @classmethod
    def _store_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            url = urlsplit(value.get_secret_value())
            if url.scheme not in STORE_SCHEMES or not url.hostname or not _has_port(url):
                raise ValueError("is not like redis://user:password@host:6379/0: redis, rediss, valkey or valkeys")
        return value

    @field_validator("better_auth_jwks_url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        url = urlsplit(value or "http://unset")
        if url.scheme not in ("http", "https") or not url.hostname or url.username or not _has_port(url):
            raise ValueError("is not an HTTP URL")
        return value

    @field_validator("resource")
    @classmethod
    def _resource_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if "," in value:
            raise ValueError("has a comma: it is one URL, like https://api.example.com/api")
        if not _RESOURCE.fullmatch(value):
            raise ValueError("is not a URL like https://api.example.com/api, without a query or a fragment")
        if not info.data.get("better_auth_issuer"):
            raise ValueError("needs BETTER_AUTH_ISSUER: set it to the issuers of access tokens, with commas")
        return normalise_url(value).rstrip("/")

    @field_validator("better_auth_jwks_file")
    @classmethod
    def _readable_file(cls, value: Path | None) -> Path | None:
        if value is not None and not os.access(value, os.R_OK):
            raise ValueError("names a file that cannot be read")
        return value

    @field_validator("user_id_claims")
    @classmethod
    def _named_claims(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("names no claim: expected something like sub,id")
        return each(value, claim)

    @field_validator("role_claim")
    @classmethod
    def _named_claim(cls, value: str) -> str:
        return claim(value)

    @field_validator("better_auth_issuer", "better_auth_audience")
    @classmethod
    def _plain_names(cls, value: list[str]) -> list[str]:
        return each(value, plain_name)

    @field_validator("cors_origins")
    @classmethod
    def _exact_origins(cls, value: list[str]) -> list[str]:
        return each(value, normalise_origin)

    @field_validator("cors_allow_headers")
    @classmethod
    def _header_names(cls, value: list[str]) -> list[str]:
        if not all(map(_HEADER_NAME.fullmatch, value)):
            raise ValueError("has an entry that is not the name of a header like X-App-Version; * is none")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _named_hosts(cls, value: list[str]) -> list[str]:
        return each(value, normalise_host)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        return each(value, network)

    @field_validator("root_path")
    @classmethod
    def _path_prefix(cls, value: str) -> str:
        prefix = value.strip().rstrip("/")
        if prefix and not PATH_PREFIX.fullmatch(prefix):
            raise ValueError("is not a path like /backend, without dots and doubled slashes")
        return prefix

    @field_validator("open_paths")
    @classmethod
    def _known_paths(cls, value: list[str]) -> list[str]:
        if set(value) - set(OPENABLE_PATHS):
            raise ValueError(f"can only have {', '.join(OPENABLE_PATHS)}: every other path needs a token")
        return value

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Blank is unset, and whitespace or quotes around a value are none of it; then what production needs.

        Required settings are required here, so that they are reported together with all other problems.
        """
        cleaned = {name: without_margin(name, value) for name, value in values.items()}
        cleaned = {name: value for name, value in cleaned.items() if value != "" or name == "environment"}
        if str(cleaned.get("environment", "")).lower() == Environment.PRODUCTION:
            key_sources = ("better_auth_secret", "better_auth_jwks_url", "better_auth_jwks_file")
            if not any(cleaned.get(name) for name in key_sources):
                cleaned["better_auth_secret"] = MISSING
            if not cleaned.get("database_url"):
                cleaned["database_url"] = MISSING
            if str(cleaned.get("better_auth_jwks_url") or "").lower().startswith("http:"):
                cleaned["better_auth_jwks_url"] = INSECURE
        return cleaned


def _has_port(url: SplitResult) -> bool:
    """Return whether the port is one, or absent; what urllib says of another may repeat a password."""
    try:
        return url.port != 0
    except ValueError:
        return False


def _problem(error: Any) -> str:
    name = str(error["loc"][0]).upper() if error["loc"] else "SETTINGS"
    hint = f"; {_WHAT_TO_SET[name]}" if name in _WHAT_TO_SET else ""
    if isinstance(refused := error.get("input"), Refused):
        return f"{name} {refused.reason}{hint}"
    cause = (error.get("ctx") or {}).get("error")
    said = str(cause) if isinstance(cause, (ValueError, DatabaseUrlError)) else error["msg"]
    return f"{name} {said}{hint}" if cause else f"{name}: {said}{hint}"


def env_file_values() -> Values:
    """Return what the file has that `ENV_FILE` names, `.env` by default. Raises `ConfigurationError`."""
    named = os.environ.get("ENV_FILE")
    if named is not None and not named.strip():
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
    """Make a secret once and keep it, readable by its owner alone, beside the embedded database."""
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
