"""Types of settings whose values have rules of their own. Each error says what to write, and repeats no secret."""

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from app.lib.database_url import parse_database_url
from app.lib.origins import each, normalise_host, normalise_origin, normalise_url
from app.lib.setting_values import CommaSeparated, FilePath, check_secret_margin, claim, network, plain_name

MIN_SECRET_BYTES = 32  # RFC 7518, 3.2: at least the size of the hash of HS256
STORE_SCHEMES = ("redis", "rediss", "valkey", "valkeys")
HEALTH_PATH = "/api/health"
OPENABLE_PATHS = (HEALTH_PATH, "/api/schema", "/api/schema/openapi.json")
PATH_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")
_RESOURCE = re.compile(r"[Hh][Tt]{2}[Pp][Ss]?://[^\s/?#@\\]+(/[^\s?#\\]*)?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'+.^_`|~-]+")


def _database_url(value: SecretStr) -> SecretStr:
    parse_database_url(value.get_secret_value())
    return value


def _secret(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    check_secret_margin(secret)
    if (size := len(secret.encode())) < MIN_SECRET_BYTES:
        raise ValueError(f"is {size} bytes long, at least {MIN_SECRET_BYTES} are needed")
    return value


def _store_url(value: SecretStr) -> SecretStr:
    url = urlsplit(value.get_secret_value())
    if url.scheme not in STORE_SCHEMES or not url.hostname or not _has_port(url):
        raise ValueError("is not like redis://user:password@host:6379/0: redis, rediss, valkey or valkeys")
    return value


def _http_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.username or not _has_port(url):
        raise ValueError("is not an HTTP URL")
    return value


def _has_port(url: SplitResult) -> bool:
    """Check that the port is valid or absent, without the message of urllib, which may repeat a password."""
    try:
        return url.port != 0
    except ValueError:
        return False


def _resource(value: str) -> str:
    if "," in value:
        raise ValueError("has a comma: it is one URL, like https://api.example.com/api")
    if not _RESOURCE.fullmatch(value):
        raise ValueError("is not a URL like https://api.example.com/api, without a query or a fragment")
    return normalise_url(value).rstrip("/")


def _readable_file(value: Path) -> Path:
    if not os.access(value, os.R_OK):
        raise ValueError("names a file that cannot be read")
    return value


def _claims(value: list[str]) -> list[str]:
    if not value:
        raise ValueError("names no claim: expected something like sub,id")
    return each(value, claim)


def _header_names(value: list[str]) -> list[str]:
    if not all(map(_HEADER_NAME.fullmatch, value)):
        raise ValueError("has an entry that is not the name of a header like X-App-Version; * is none")
    return value


def _path_prefix(value: str) -> str:
    prefix = value.strip().rstrip("/")
    if prefix and not PATH_PREFIX.fullmatch(prefix):
        raise ValueError("is not a path like /backend, without dots and doubled slashes")
    return prefix


def _open_paths(value: list[str]) -> list[str]:
    if set(value) - set(OPENABLE_PATHS):
        raise ValueError(f"can only have {', '.join(OPENABLE_PATHS)}: every other path needs a token")
    return value


def _plain_names(value: list[str]) -> list[str]:
    return each(value, plain_name)


def _origins(value: list[str]) -> list[str]:
    return each(value, normalise_origin)


def _hosts(value: list[str]) -> list[str]:
    return each(value, normalise_host)


def _networks(value: list[str]) -> list[str]:
    return each(value, network)


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
StoreUrl = Annotated[SecretStr, AfterValidator(_store_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
ResourceUrl = Annotated[str, AfterValidator(_resource)]
ReadableFile = Annotated[FilePath, AfterValidator(_readable_file)]
Claim = Annotated[str, Field(min_length=1), AfterValidator(claim)]
Claims = Annotated[CommaSeparated, AfterValidator(_claims)]
PlainNames = Annotated[CommaSeparated, AfterValidator(_plain_names)]
HeaderNames = Annotated[CommaSeparated, AfterValidator(_header_names)]
Origins = Annotated[CommaSeparated, AfterValidator(_origins)]
Hosts = Annotated[CommaSeparated, AfterValidator(_hosts)]
Networks = Annotated[CommaSeparated, AfterValidator(_networks)]
PathPrefix = Annotated[str, AfterValidator(_path_prefix)]
OpenPaths = Annotated[CommaSeparated, AfterValidator(_open_paths)]
