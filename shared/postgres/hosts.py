"""Connects to the usable one among the hosts of an address.

libpq tries the hosts of an address in turn, each with the limit `connect_timeout`. Our wait callback (`connections.py`)
switches that limit off, so that one host that does not answer would use up the whole wait. It would also do so at each
connect, because libpq begins with the first host. Here each host has a limit of its own, and the host that served last
comes first. libpq itself decides whether a host is usable: `target_session_attrs=read-write` refuses a standby.
"""

from __future__ import annotations

import threading
from typing import Any

import psycopg2
from psycopg2.extensions import connection, parse_dsn

from shared.postgres.urls import libpq_url

#: Longest wait for one of several hosts. Of three hosts one may be dark, and a lease of 6 s still holds.
HOST_SECONDS = 1.5

#: Index of the host that served last, by address.
_served_last: dict[str, int] = {}
_limits = threading.local()


def connect(url: str, **options: Any) -> connection:
    """Connect to the host that served last, else to the next usable one. `options` are psycopg2's.

    Raises psycopg2.OperationalError with the reason of each host when none is usable.
    """
    address = libpq_url(url)
    places = places_of(address)
    if len(places) < 2:
        made: connection = psycopg2.connect(address, **options)
        return made
    first = _served_last.get(address, 0)
    reasons = []
    for number in (first, *(other for other in range(len(places)) if other != first)):
        _limits.seconds = HOST_SECONDS
        try:
            made = psycopg2.connect(address, **{**options, **places[number]})
        except psycopg2.OperationalError as error:
            reasons.append(str(error).strip())
        else:
            _served_last[address] = number
            return made
        finally:
            del _limits.seconds
    raise psycopg2.OperationalError("\n".join(reasons))


def limit_of_wait(usual: float) -> float:
    """Return the limit of this thread's next wait: `usual`, or less while it connects to one of several hosts."""
    return min(usual, getattr(_limits, "seconds", usual))


def places_of(url: str) -> list[dict[str, str]]:
    """Return each host of an address as options of psycopg2 that replace the list of hosts."""
    parts = parse_dsn(libpq_url(url))
    names = [name for name in ("host", "hostaddr") if parts.get(name)]
    lists = {name: parts[name].split(",") for name in (*names, "port") if parts.get(name)}
    number = max((len(lists[name]) for name in names), default=1)
    # One port serves all hosts.
    return [{name: each[min(at, len(each) - 1)] for name, each in lists.items()} for at in range(number)]
