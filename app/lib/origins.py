"""Origins and host names of the settings, in the one form that browsers and clients send."""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # WHATWG URL, 3.5: "ends in a number" is an IPv4 address
_NUMBERS = {
    re.compile(r"0x([0-9a-f]{0,8})"): 16,
    re.compile(r"0([0-7]{0,11})"): 8,
    re.compile(r"([1-9][0-9]{0,9})"): 10,
}
_BRACKETS = re.compile(r"\[(.*)\](?::(.*))?")


def each(values: list[str], normalise: Callable[[str], str]) -> list[str]:
    """Normalise each entry of a list. Raises `ValueError` with what to write, for all entries at once."""
    done, problems = [], []
    for number, value in enumerate(values, 1):
        try:
            done.append(normalise(value))
        except ValueError as error:
            problems.append(f"entry {number} {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return done


def normalise_origin(text: str) -> str:
    """Return an origin as browsers send it (RFC 6454, 6.2), or `*`. Raises `ValueError` with what to write."""
    if text == "*":
        return text
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS or not rest or "@" in rest or any(map(str.isspace, rest)):
        raise ValueError("is not an origin: write one like https://app.example.com")
    if "*" in rest:
        raise ValueError("has a wildcard, which matches no origin: name each one, like https://app.example.com")
    authority = re.split(r"[/?#\\]", rest)[0]
    host, port = _split_port(authority)
    origin = _origin(scheme, _normalise_name(host), port)
    if authority != rest:
        raise ValueError(f"has more than an origin: write {origin}, without a path and a slash at its end")
    return origin


def normalise_host(text: str) -> str:
    """Return a host name, or `*.` and one, without a port. Raises `ValueError` with what to write."""
    if "@" in text or any(map(str.isspace, text)):
        raise ValueError("is not a host name: write one like api.example.com")
    if text == "*":
        raise ValueError("is *: to serve any host, leave it empty")
    if text.startswith("."):
        raise ValueError("begins with a dot: write *.example.com for every name below example.com")
    authority = re.split(r"[/?#\\]", text.rpartition("://")[2])[0]
    wildcard = "*." if authority.startswith("*.") else ""
    host, port = _split_port(authority.removeprefix("*."))
    name = wildcard + _normalise_name(host)
    if authority != text or port is not None:
        raise ValueError(f"has more than a host name: write {name}, without a scheme, a port or a path")
    return name


def normalise_url(text: str) -> str:
    """Return an HTTP URL with its scheme and host in the form of an origin. Raises `ValueError`."""
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    if scheme.lower() not in DEFAULT_PORTS:
        raise ValueError("is not an HTTP URL")
    host, port = _split_port(authority)
    return f"{_origin(scheme.lower(), _normalise_name(host), port)}{slash}{path}"


def _origin(scheme: str, name: str, port: int | None) -> str:
    return f"{scheme}://{name}" if port in (None, DEFAULT_PORTS[scheme]) else f"{scheme}://{name}:{port}"


def _split_port(authority: str) -> tuple[str, int | None]:
    if bracketed := _BRACKETS.fullmatch(authority):
        host, port = f"[{bracketed[1]}]", bracketed[2]
    elif authority.count(":") > 1:
        host, port = f"[{authority}]", None
    else:
        host, separator, after = authority.partition(":")
        port = after if separator else None
    if port is None:
        return host, None
    if not re.fullmatch(r"[0-9]{1,6}", port, re.ASCII) or not 0 < int(port) < 65536:
        raise ValueError("has a port that is not a number from 1 to 65535")
    return host, int(port)


def _normalise_name(host: str) -> str:
    """Return a name in lower case and ASCII (IDNA, as browsers do), or an address in its short form."""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]"
        name = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except ValueError:
        raise ValueError("has a host name that does not exist: write it in ASCII (xn--…)") from None
    name = name.lower().removesuffix(".")
    if "*" in name or not _NAME.fullmatch(name):
        raise ValueError("has a host that is no host name: write one like app.example.com, a wildcard only as *. first")
    if _NUMERIC.fullmatch(name) and (address := _ipv4(name)) != name:
        raise ValueError(f"has a host that browsers send as {address}: write {address}")
    return name


def _ipv4(name: str) -> str:
    """Return the address that browsers read in a host that ends in a number (WHATWG URL, 3.5)."""
    numbers = [_number(part) for part in name.split(".")]
    last = numbers.pop()
    if len(numbers) > 3 or any(number > 255 for number in numbers) or last >= 256 ** (4 - len(numbers)):
        raise ValueError("has a host that ends in a number and is no IPv4 address")
    return str(IPv4Address(sum(number << (24 - 8 * at) for at, number in enumerate(numbers)) + last))


def _number(text: str) -> int:
    for pattern, base in _NUMBERS.items():
        if match := pattern.fullmatch(text):
            return int(match[1] or "0", base)
    raise ValueError("has a host that ends in a number and is no IPv4 address")
