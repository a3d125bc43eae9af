"""`doctor`'s checks of the way to the servers: several hosts of Postgres."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg2

from deploy.cli.findings import Finding, Findings, Level
from shared.postgres.hosts import places_of
from shared.postgres.urls import hosts_of, libpq_url
from shared.settings import Settings

CONNECT_SECONDS = 3


def host_names(url: str) -> set[str]:
    """Return the names of Postgres's hosts in an address, without their ports."""
    return {re.sub(r":\d+$", "", place).strip("[]") or "127.0.0.1" for place in hosts_of(url).split(",")}


def postgres_hosts(settings: Settings) -> Findings:
    """Say which of several hosts is the primary, and which do not answer."""
    places = places_of(settings.database_url)
    if len(places) < 2:
        return
    primaries = []
    for place in places:
        name = ":".join(place.values())
        try:
            is_standby = in_recovery(settings.database_url, place)
        except psycopg2.OperationalError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            to_do = "start it, or take it out of DATABASE_URL; until then a failover has one host less"
            yield Finding(Level.HINT, f"postgres: {name} does not answer ({reason})", to_do)
            continue
        primaries += [] if is_standby else [name]
        yield Finding(Level.GOOD, f"postgres: {name} is {'a standby' if is_standby else 'the primary'}")
    if len(primaries) > 1:
        to_do = "stop all but one at once: what one stores, the others do not have"
        yield Finding(Level.WRONG, f"postgres: {' and '.join(primaries)} all accept writes", to_do)


def in_recovery(url: str, place: Mapping[str, str]) -> bool:
    """Whether one host of an address is a standby. Raises psycopg2.OperationalError."""
    options: dict[str, Any] = {**place, "target_session_attrs": "any", "connect_timeout": CONNECT_SECONDS}
    with closing(psycopg2.connect(libpq_url(url), **options)) as link, link.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        return bool((cursor.fetchone() or (True,))[0])
