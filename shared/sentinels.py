"""The address of a Redis behind Sentinels, in the form that kombu documents. Imports no driver.

    sentinel://:password@one:26379;sentinel://:password@two:26379/0?master_name=mymaster

User, password and database belong to Redis. Options: `master_name`, and `sentinel_username` and `sentinel_password` of
Sentinels that ask for them. Each part of the list may repeat user, password, database and options, or leave them out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SCHEME = "sentinel"
PORT = 26_379
FORM = "sentinel://:password@host:26379;sentinel://:password@host:26379/0?master_name=NAME"
_OPTIONS = ("master_name", "sentinel_username", "sentinel_password")


class BadAddress(ValueError):
    """The address is no list of Sentinels. The message says why, and quotes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinels:
    """Where the Sentinels are, the name that they know the primary by, and how to sign in."""

    places: tuple[tuple[str, int], ...]
    master_name: str
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)

    @property
    def broker_url(self) -> str:
        """The address for kombu, which reads user, password and database of each part and no options."""
        user = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@"
        user = "" if user == ":@" else user
        return ";".join(f"{SCHEME}://{user}{_place(*place)}/{self.database}" for place in self.places)

    @property
    def of_redis(self) -> dict[str, Any]:
        """User, password and database of Redis, as redis-py's options."""
        return {"db": self.database, **_login(self.username, self.password)}

    @property
    def of_sentinels(self) -> dict[str, Any]:
        """User and password of the Sentinels, as redis-py's options."""
        return _login(self.sentinel_username, self.sentinel_password)

    def __str__(self) -> str:
        return ", ".join(_place(*place) for place in self.places)


def sentinels_of(url: str) -> Sentinels | None:
    """Return the Sentinels of an address; None for an address of Redis itself. Raises BadAddress."""
    if not url.startswith(f"{SCHEME}:"):
        return None
    places, given = [], dict[str, str]()
    for part in url.split(";"):
        place, values = _read(part)
        places.append(place)
        for name, value in values.items():
            if value and given.setdefault(name, value) != value:
                raise BadAddress("user, password, database and options must be the same in each part")
    return _made(tuple(places), given)


def _read(part: str) -> tuple[tuple[str, int], dict[str, str]]:
    """Return the place in one part of the list, and what else the part says."""
    try:
        parts = urlsplit(part)
        host, port = parts.hostname or "", parts.port or PORT
    except ValueError:  # a malformed IPv6 address or port
        raise BadAddress(f"write {FORM}") from None
    if not host or parts.scheme != SCHEME or "," in host or not part.isprintable():
        raise BadAddress(f"write {FORM}")
    if parts.fragment:
        raise BadAddress("write %23 for #, which would end the address")
    named = {
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.strip("/"),
    }
    # A plus sign stands for itself, as in the rest of the address; parse_qsl would read a space, as in a web form.
    return (host, port), {**named, **dict(parse_qsl(parts.query.replace("+", "%2B")))}


def _made(places: tuple[tuple[str, int], ...], given: dict[str, str]) -> Sentinels:
    if len(set(places)) < len(places):
        raise BadAddress("it names a Sentinel twice")
    if not given.get("master_name"):
        raise BadAddress("append ?master_name=NAME, the name by which they know the primary")
    if given.keys() - {"username", "password", "database", *_OPTIONS}:
        raise BadAddress(f"the only options are {', '.join(_OPTIONS)}")
    database = given.pop("database", "0")
    if not (database.isascii() and database.isdigit()):
        raise BadAddress("the part after the last / must be the number of a database, such as 0")
    return Sentinels(places=places, database=int(database), **given)


def _login(username: str, password: str) -> dict[str, Any]:
    return {name: value for name, value in (("username", username), ("password", password)) if value}


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
