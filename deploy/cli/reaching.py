"""`doctor`'s checks of the way to the servers: several hosts of Postgres, its pooler, and the Sentinels
of Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg2
from redis import RedisError
from sqlalchemy import text

from deploy.cli.findings import Finding, Findings, Level
from shared.postgres import pooler
from shared.postgres.database import LIMITS, make_engine, transaction
from shared.postgres.hosts import places_of
from shared.postgres.urls import libpq_url
from shared.redis import primary_known_to
from shared.sentinels import sentinels_of
from shared.settings import Settings

CONNECT_SECONDS = 3
FEWEST_SENTINELS = 3


def host_names(url: str) -> set[str]:
    """Return the names of Postgres's hosts as libpq reads the address, without their ports; a socket is loopback."""
    names = {place.get("hostaddr") or place.get("host") or "" for place in places_of(url)}
    return {"127.0.0.1" if not name or name.startswith(("/", "@")) else name for name in names}


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


def time_limits(settings: Settings) -> Findings:
    """Say whether a pooler is in the way, and whether the time limits of a transaction hold all the same."""
    is_pooled = pooler.leads_to_pooler(settings.database_url)
    if is_pooled and not settings.listen_database_url:
        yield Finding(Level.WRONG, f"pooler: {pooler.UNDECLARED}")
        return
    if settings.listen_database_url and not is_pooled:
        to_do = "unset NARU_LISTEN_DATABASE_URL: without it Naru prepares its statements, and stores a question faster"
        yield Finding(Level.HINT, "pooler: there is none, but NARU_LISTEN_DATABASE_URL says so", to_do)
    if settings.listen_database_url and not pooler.keeps_sessions(settings.listen_database_url):
        yield Finding(Level.WRONG, f"pooler: {pooler.LISTENING_IS_POOLED}")
    where = "postgres: behind a pooler, " if is_pooled else "postgres: "
    shown = limits_in_force(settings)
    if missing := [name for name, value in shown.items() if value == "0"]:
        to_do = "report this: a statement that hangs would hold its locks for ever"
        yield Finding(Level.WRONG, f"{where}transactions have no {', no '.join(missing)}", to_do)
    else:
        limits = ", ".join(f"{name} {value}" for name, value in shown.items())
        yield Finding(Level.GOOD, f"{where}each transaction has its time limits ({limits})")


def limits_in_force(settings: Settings) -> dict[str, str]:
    """Return the limits that Postgres shows in a transaction of ours. Raises Unavailable."""
    engine = make_engine(settings, name="naru-doctor", pool=1)
    try:
        with transaction(engine) as connection:
            return {name: str(connection.execute(text(f"SHOW {name}")).scalar_one()) for name in LIMITS}
    finally:
        engine.dispose()


def redis_sentinels(settings: Settings) -> Findings:
    """Say which primary the Sentinels know, and name those that do not answer."""
    found = sentinels_of(settings.redis_url)
    if found is None:
        return
    known: dict[str, list[str]] = {}
    for place in found.places:
        name = "{}:{}".format(*place)
        try:
            known.setdefault(primary_known_to(found, place, timeout_seconds=CONNECT_SECONDS), []).append(name)
        except (RedisError, OSError) as error:
            to_do = "start it, or take it out of REDIS_URL; a failover needs most of the Sentinels"
            yield Finding(Level.HINT, f"sentinel: {name} does not answer ({type(error).__name__})", to_do)
    if "" in known:
        to_do = "correct master_name in REDIS_URL, or see what is wrong with the primary"
        blind = ", ".join(known.pop(""))
        yield Finding(Level.WRONG, f"sentinel: {blind}: no usable primary {found.master_name!r}", to_do)
    if len(known) > 1:
        to_do = "wait for the end of the failover; if this stays, the Sentinels are cut off from each other"
        yield Finding(Level.WRONG, f"sentinel: they name several primaries: {', '.join(known)}", to_do)
    elif known:
        ((primary, names),) = known.items()
        what = f"sentinel: {len(names)} of {len(found.places)} answer, {found.master_name} is {primary}"
        yield Finding(Level.GOOD, what)
    if len(found.places) < FEWEST_SENTINELS:
        to_do = "list them all; three are the fewest that survive the loss of one"
        yield Finding(Level.HINT, f"sentinel: REDIS_URL lists {len(found.places)} of them", to_do)
