"""Checks DATABASE_URL and REDIS_URL before anything is started on them. Prints one sentence for each that is unusable.

`up` runs it as a separate program: redis-py would stay in the launcher's memory for as long as Naru runs. A sentence
names the variable, host and port, but never a password or another secret of the address.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2

from deploy.embedded.environment import environment_of
from shared.errors import SettingsError
from shared.postgres.urls import hosts_of, libpq_url
from shared.sentinels import sentinels_of
from shared.settings import Settings, load_settings

OLDEST_POSTGRES = 140000
OLDEST_REDIS = (6, 2)
TRY_SECONDS = 3
WHOLE_SECONDS = 15.0  # for the start of the program and both tries, on a loaded machine

#: Words in a driver's error → its meaning. The first match counts.
MEANINGS = (
    (("no master found",), "no Sentinel there knows a primary of this name that can be used"),
    (
        ("password", "authentication", "noauth", "wrongpass", "invalid username"),
        "the server refuses its user or password",
    ),
    (("does not exist", "db index", "invalid db"), "the server has no database of this name"),
    (("read-only", "hot standby"), "no host there is a primary"),
    (("refused",), "nothing listens there"),
    (("translate host", "name or service", "name resolution", "nodename"), "there is no host of this name"),
    (("timeout", "timed out"), "no {kind} server answers there within {seconds} s"),
    (("too many", "remaining connection slots", "max number of clients"), "the server has no free connections"),
    (("certificate", "ssl error", "does not support ssl"), "the encrypted connection failed"),
)


def check_servers(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raise SettingsError if a server that the settings name cannot be used."""
    if not (settings.database_url or settings.redis_url or settings.live_redis_urls):
        return
    command = [sys.executable, "-m", "deploy.cli.servers"]
    try:
        done = subprocess.run(
            command, env=environment_of("servers", environ), capture_output=True, text=True, timeout=WHOLE_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SettingsError("the server of DATABASE_URL or REDIS_URL does not answer. Check the address.") from None
    if done.returncode != 0:
        raise SettingsError(done.stdout.strip() or "DATABASE_URL and REDIS_URL could not be checked.")


def try_postgres(settings: Settings) -> str | None:
    """Return a sentence about DATABASE_URL; None if it can be used."""
    from shared.postgres import pooler  # SQLAlchemy's 20 MB, which the launcher itself does without

    url = settings.database_url
    try:
        connection = psycopg2.connect(libpq_url(url), connect_timeout=TRY_SECONDS)
    except psycopg2.Error as error:
        return sentence("DATABASE_URL", url, why(error, kind="Postgres"))
    with closing(connection):
        version = connection.server_version
    try:
        pooler.refuse_pooled_listening(settings)
    except SettingsError as error:
        return str(error)
    return (
        sentence("DATABASE_URL", url, "the server is older than PostgreSQL 14") if version < OLDEST_POSTGRES else None
    )


def try_redis(url: str, *, variable: str = "REDIS_URL") -> str | None:
    """Return a sentence about the address in `variable`; None if it can be used."""
    from redis import BusyLoadingError, RedisError  # 15 MB that the launcher itself does without

    from shared.redis import make_client

    try:
        with make_client(url, timeout_seconds=TRY_SECONDS) as client:
            info = dict(client.info("server"))
    except BusyLoadingError:
        return None  # it is starting
    except (RedisError, OSError, ValueError) as error:
        return sentence(variable, url, why(error, kind="Redis"))
    version = tuple(int(part) for part in str(info.get("redis_version", "0.0")).split(".")[:2])
    return sentence(variable, url, "the server is older than Redis 6.2") if version < OLDEST_REDIS else None


def try_shards(settings: Settings) -> list[str]:
    """Return a sentence for each address of NARU_LIVE_REDIS_URLS that cannot be used."""
    if not settings.live_redis_urls:
        return []
    from shared.live.shards import live_urls, refuse_twins

    tried = (try_redis(url, variable="NARU_LIVE_REDIS_URLS") for url in live_urls(settings))
    if wrong := [found for found in tried if found]:
        return wrong
    try:
        refuse_twins(settings)
    except SettingsError as error:
        return [str(error)]
    return []


def why(error: Exception, *, kind: str) -> str:
    """Explain a driver's error. The error itself is never shown: it may quote the address."""
    text = str(error).lower()
    found = (meaning for words, meaning in MEANINGS if any(word in text for word in words))
    return next(found, "the server there is not a usable {kind}").format(kind=kind, seconds=TRY_SECONDS)


def sentence(variable: str, url: str, reason: str) -> str:
    """Return one sentence with the variable, hosts and ports, and the reason."""
    sentinels = sentinels_of(url)
    where = hosts_of(url) if sentinels is None else str(sentinels)
    to_do = "Correct it, or unset it to use the embedded server."
    return f"{variable} ({where or 'this machine'}) cannot be used: {reason}. {to_do}"


def main() -> int:
    """Try the servers that are set, in parallel, and print the problems."""
    settings = load_settings()
    with ThreadPoolExecutor(3) as threads:
        shards = threads.submit(try_shards, settings)
        tries = [threads.submit(try_postgres, settings)] if settings.database_url else []
        tries += [threads.submit(try_redis, settings.redis_url)] if settings.redis_url else []
        wrong = [*(found for each in tries if (found := each.result())), *shards.result()]
    print("\n      ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
