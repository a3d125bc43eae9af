"""Check the format of addresses and keys in settings, before a driver sees them.

A driver would fail with a traceback that may quote the password. The messages of this module never quote the value.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from shared import sentinels

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^,/:?\[\]@]*)(?::\d{1,5})?"
#: The syntax of libpq, with one host or several. A password may contain `#`, where `urlsplit` would end the address.
_POSTGRES = re.compile(
    r"(?:postgres|postgresql|postgresql\+psycopg2)://(?:[^:/?@]*(?::[^/?@]*)?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?:/[^?]*)?(?:\?(?P<options>.*))?"
)
#: The values of `target_session_attrs` that keep Naru from a standby, where it could store nothing.
_PRIMARY = {"read-write", "primary"}
#: Names, patterns and addresses, separated by commas or whitespace (shared/hosts.py).
_HOSTS = re.compile(r"(?:(?:\*|(?:\*?\.)?[\w-]+(?:\.[\w-]+)*|\[?[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+\]?)(?:[\s,]+|$))*")
_HALF_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LAST_PORT = 65_535
_REDIS_PORT = 6379


def complaint(kind: str, text: str) -> str | None:
    """Return why `text` is not a valid `kind`, one of _CHECKS or `key`; None if it is valid or empty."""
    if not text or (kind == "ollama" and text == "off"):
        return None
    if kind == "key":
        return (
            None
            if text.isascii() and text.isprintable() and " " not in text
            else "not a key: a key is printable ASCII without spaces"
        )
    if kind == "redis" and text.startswith(f"{sentinels.SCHEME}:"):
        return _complaint_of_sentinels(text)
    if not _CHECKS[kind](text):
        what = "a list of addresses" if kind == "redis_list" else "a valid address"
        return f"not {what}. Write {_FORMS[kind]}"
    return _complaint_of_several_hosts(text) if kind == "postgres" else None


def _is_postgres(text: str) -> bool:
    found = _POSTGRES.fullmatch(text) if text.isprintable() and not _HALF_ESCAPE.search(text) else None
    if found is None:
        return False
    ports = re.findall(r":(\d+)(?=,|$)", found["hosts"])
    return all(int(port) <= _LAST_PORT for port in ports)


def _complaint_of_sentinels(text: str) -> str | None:
    try:
        sentinels.sentinels_of(text)
    except sentinels.BadAddress as error:
        return f"not a valid list of Sentinels: {error}"
    return None


def _complaint_of_several_hosts(text: str) -> str | None:
    found = _POSTGRES.fullmatch(text)
    options = parse_qs((found and found["options"]) or "")
    hosts = (found["hosts"] if found else "", *options.get("host", ()), *options.get("hostaddr", ()))
    wanted = options.get("target_session_attrs", [""])[-1]
    if not any("," in each for each in hosts) or wanted in _PRIMARY:
        return None
    return "not a safe list of hosts: append ?target_session_attrs=read-write, so that Naru uses the primary"


def _is_redis(text: str) -> bool:
    return _is_url(text, {"redis", "rediss"}) or (text.startswith("unix://") and text.isprintable())


def addresses_in(text: str) -> tuple[str, ...]:
    """Return the addresses of a list, which commas or whitespace separate."""
    return tuple(each for each in re.split(r"[\s,]+", text) if each)


def server_of(url: str) -> str:
    """Return the host and port of a Redis address, or the path of its socket; never its password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or _REDIS_PORT}"


def _are_redis(text: str) -> bool:
    return all(_is_redis(each) for each in addresses_in(text))


def _is_http(text: str) -> bool:
    return _is_url(text, {"http", "https"}) and text.isascii() and " " not in text


def _is_url(text: str, schemes: set[str]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and text.isprintable()
    except ValueError:  # a malformed IPv6 address or port
        return False


def _are_hosts(text: str) -> bool:
    return _HOSTS.fullmatch(text) is not None


_CHECKS = {
    "postgres": _is_postgres,
    "redis": _is_redis,
    "redis_list": _are_redis,
    "http": _is_http,
    "ollama": _is_http,
    "hosts": _are_hosts,
}
_FORMS = {
    "postgres": "postgresql://user:password@host:port/name, with %XX for special characters of the password",
    "redis": f"redis://:password@host:port/0, with %XX for special characters of the password, or {sentinels.FORM}",
    "redis_list": "redis://:password@host:port/0 for each, separated by commas, with %XX for special characters",
    "http": "http://host:port or https://host",
    "ollama": "http://host:port, or off",
    "hosts": "names without scheme and port, such as chat.example.org, .example.org or *, separated by commas",
}


_SYSLOG = re.compile(r"syslog:(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>\d{1,5}))?")


def syslog_address(target: str) -> str | tuple[str, int]:
    """Return the path in `syslog:/PATH`, or host and port of `syslog:HOST[:PORT]`. Raises ValueError."""
    if target.startswith("syslog:/"):
        return target.removeprefix("syslog:")
    found = _SYSLOG.fullmatch(target)
    port = int(found["port"] or 514) if found else 0
    if found is None or not 0 < port < 65_536:
        raise ValueError(target)
    return found["v6"] or found["host"], port


def is_audit_log(target: str) -> bool:
    """Whether NARU_AUDIT_LOG may have this value."""
    try:
        return target in ("off", "stdout") or bool(syslog_address(target))
    except ValueError:
        return False
