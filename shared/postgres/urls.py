"""The spellings of a database URL. Imports neither SQLAlchemy nor the driver, so that the launcher stays small.

An address may name several hosts in libpq's form, `postgresql://user@one:5432,two:5432/naru?target_session_attrs=…`.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_PARTS = re.compile(r"(?P<user>[a-z0-9+]+://(?:[^/?@]*@)?)(?P<hosts>[^/?]*)(?:/(?P<database>[^?]*))?(?P<options>\?.*)?")


def driver_url(url: str) -> str:
    """Return the URL for SQLAlchemy with psycopg2; accepts postgres:// and postgresql://.

    Of several hosts it keeps the first: SQLAlchemy cannot read a list, and does not connect by this address itself.
    """
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            url = "postgresql+psycopg2://" + url.removeprefix(scheme)
            break
    hosts = hosts_of(url)
    return url.replace(hosts, hosts.partition(",")[0], 1) if "," in hosts else url


def libpq_url(url: str) -> str:
    """Return the URL for libpq (`psycopg2.connect`), with all its hosts."""
    return re.sub(r"^(?:postgresql\+psycopg2|postgres)://", "postgresql://", url)


def hosts_of(url: str) -> str:
    """Return the hosts and ports of an address as it lists them; they hold no secret."""
    found = _PARTS.match(url)
    return found["hosts"] if found else ""


def with_database(url: str, database: str) -> str:
    """Return the address of another database on the same hosts. Raises ValueError for what is no address."""
    found = _PARTS.match(url)
    if found is None:
        raise ValueError("not the address of a database")
    # libpq prefers `dbname` among the options to the path, so the old database would win.
    options = [each for each in (found["options"] or "")[1:].split("&") if each and not _names_a_database(each)]
    return f"{found['user']}{found['hosts']}/{quote(database, safe='')}{'?' if options else ''}{'&'.join(options)}"


def _names_a_database(option: str) -> bool:
    return unquote(option.partition("=")[0]) == "dbname"
