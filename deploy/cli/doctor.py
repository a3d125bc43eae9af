"""`./naru doctor`: checks of an installation; each finding says what to do.

It changes nothing, and asks a model a question only with `--providers` (`trials.py`). Each check is a function that
yields findings. A check that fails to run is a finding too.
"""

from __future__ import annotations

import json
import shutil
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from psycopg2.extensions import parse_dsn
from redis import RedisError

from deploy.backup.shelf import shelf_of
from deploy.cli.company import company_sign_in
from deploy.cli.findings import Finding, Findings, Level, privacy, show
from deploy.cli.lanes import lanes
from deploy.cli.reaching import host_names, postgres_hosts, redis_sentinels, time_limits
from deploy.cli.redis_servers import redis_servers
from deploy.cli.retention import kept
from deploy.cli.security import accounts, cookie_keys, hosts, smtp
from deploy.cli.servers import OLDEST_POSTGRES
from deploy.embedded.data import running_on
from deploy.embedded.locate import NotRunning, settings_of
from deploy.embedded.parts import ask as ask_postgres
from deploy.embedded.parts import is_migrated, is_ok
from shared.errors import SettingsError
from shared.postgres.urls import libpq_url
from shared.settings import Settings
from shared.vendors import COMPATIBLE, KEY_VARIABLES, OLLAMA, WITH_KEY, Vendor

CLOCK_SECONDS = 2.0
BACKUP_HOURS = 26
WAITING_SECONDS = 60
FREE_MEGABYTES = 1000
PROVIDER_SECONDS = 10


def examine(*, data: Path, tries_providers: bool = False) -> int:
    """Print all findings; return 1 when one is WRONG, else 0. `tries_providers` asks models, which may cost money."""
    try:
        settings = settings_of(data)
    except NotRunning as error:
        show(Finding(Level.WRONG, f"servers: {error}"))
        return 1
    except SettingsError as error:
        show(Finding(Level.WRONG, f"settings: {error}", "correct this variable; the README's table lists all"))
        return 1
    show(Finding(Level.GOOD, "settings: complete and consistent"))
    found = [finding for check in CHECKS for finding in carefully(check, settings)]
    found += [*page_and_disk(data), *backups(settings, data), *cookie_keys(settings, data), *hosts(settings, data)]
    if tries_providers:
        from deploy.cli.trials import providers

        found += carefully(providers, settings)
    return 1 if any(finding.level is Level.WRONG for finding in found) else 0


def carefully(check: Callable[[Settings], Findings], settings: Settings) -> Findings:
    """Show and yield the findings of a check; a server's error becomes a finding."""
    try:
        for finding in check(settings):
            show(finding)
            yield finding
    except (psycopg2.Error, RedisError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        finding = Finding(Level.WRONG, f"{check.__name__.replace('_', ' ')}: {reason}", "start it, or correct its URL")
        show(finding)
        yield finding


def postgres(settings: Settings) -> Findings:
    """Check Postgres's version, durability, free connections and clock."""
    with psycopg2.connect(libpq_url(settings.database_url), connect_timeout=3) as connection:
        value = {name: setting(connection, name) for name in POSTGRES_SETTINGS}
        replica, used, clock, own = one(
            connection,
            "SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_stat_activity), clock_timestamp(), current_user",
        )
        version = connection.server_version
    connection.close()
    if version < OLDEST_POSTGRES:
        yield Finding(Level.WRONG, f"postgres: version {value['server_version']}", "use 14 or newer")
    else:
        yield Finding(Level.GOOD, f"postgres: {value['server_version']}, as {own}")
    if replica:
        yield Finding(Level.WRONG, "postgres: this is a read-only replica", "point DATABASE_URL at the primary")
    if value["server_encoding"] != "UTF8":
        yield Finding(Level.WRONG, f"postgres: encoding {value['server_encoding']}", "create the database with UTF8")
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        if value[name] == "off":
            to_do = f"set {name} = on: an accepted question could be lost when the machine fails"
            yield Finding(Level.WRONG, f"postgres: {name} is off", to_do)
    left, of_process = int(value["max_connections"]) - int(used), settings.database_pool + 1
    if left < 2 * of_process:
        to_do = f"raise max_connections: each web and worker process takes up to {of_process}"
        yield Finding(Level.HINT, f"postgres: {left} of {value['max_connections']} connections left", to_do)
    apart = abs((datetime.now(UTC) - clock).total_seconds())
    if apart > CLOCK_SECONDS:
        to_do = "run NTP on both; nothing breaks (Postgres's clock decides), but logs and times shown disagree"
        yield Finding(Level.HINT, f"clock: this machine and Postgres are {apart:.0f} s apart", to_do)
    url = settings.database_url
    has_password, secure = bool(parse_dsn(libpq_url(url)).get("password")), "sslmode=" in url
    yield from privacy("postgres", host_names(url), has_password=has_password, secure=secure)


POSTGRES_SETTINGS = (
    "server_version",
    "server_encoding",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "max_connections",
)


def one(connection: Any, question: str) -> tuple[Any, ...]:
    """Return the one row of a query."""
    with connection.cursor() as cursor:
        cursor.execute(question)
        return tuple(cursor.fetchone())


def setting(connection: Any, name: str) -> str:
    """Return a setting of the server."""
    return str(one(connection, f"SHOW {name}")[0])


def tables(settings: Settings) -> Findings:
    """Check that all migrations are applied."""
    if is_migrated(settings.database_url):
        yield Finding(Level.GOOD, "tables: up to date")
    else:
        yield Finding(Level.WRONG, "tables: not up to date with this version", "run: python -m shared.migrations")


def listening(settings: Settings) -> Findings:
    """Check that notifications arrive: a transaction pooler drops LISTEN silently."""
    connection = psycopg2.connect(libpq_url(settings.listen_database_url or settings.database_url), connect_timeout=3)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("LISTEN naru_doctor")
            cursor.execute("NOTIFY naru_doctor")
            limit = time.monotonic() + 1
            while not connection.notifies and time.monotonic() < limit:
                time.sleep(0.02)
                connection.poll()
        if connection.notifies:
            yield Finding(Level.GOOD, "notifications: they arrive")
        else:
            to_do = "set NARU_LISTEN_DATABASE_URL to the server itself (a transaction pooler cannot LISTEN)"
            yield Finding(Level.HINT, "notifications: lost, so stops and new questions wait for the next poll", to_do)
    finally:
        connection.close()


FLEET = """
    SELECT count(*), count(*) FILTER (WHERE NOT draining), coalesce(sum(slots) FILTER (WHERE NOT draining), 0),
           count(*) FILTER (WHERE NOT draining AND consumed_at > clock_timestamp() - interval '30 s')
      FROM worker WHERE lost_at IS NULL AND lease_expires_at > clock_timestamp()
"""
QUEUE = """
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(available_at)), 0)
      FROM chat_request WHERE status = 'queued' AND available_at <= clock_timestamp()
"""


def workers(settings: Settings) -> Findings:
    """Check the workers, and the age of the queue."""
    row = ask_postgres(settings.database_url, FLEET)
    if row is None:
        yield Finding(Level.WRONG, "workers: unknown, because there are no tables", "run: python -m shared.migrations")
        return
    there, taking, slots, consuming = (int(value) for value in row)
    if not there:
        yield Finding(Level.WRONG, "workers: none is running", "start one: ./naru up, or python -m workers")
    elif not taking:
        yield Finding(Level.WRONG, f"workers: all {there} are draining", "start another one")
    elif not consuming:
        to_do = "see the worker's log and its REDIS_URL; meanwhile they take questions from Postgres"
        yield Finding(Level.HINT, f"workers: {taking} run, none receives hints from Redis", to_do)
    else:
        yield Finding(Level.GOOD, f"workers: {consuming} consume, {slots} answers at once")
    waiting, oldest = ask_postgres(settings.database_url, QUEUE) or (0, 0)
    if float(oldest) > WAITING_SECONDS:
        to_do = "start more workers, or raise NARU_CONCURRENCY; a worker's log may name the cause"
        yield Finding(Level.HINT, f"queue: {waiting} wait, the oldest for {float(oldest):.0f} s", to_do)


def keys(settings: Settings) -> Findings:
    """Check that each configured vendor accepts our key, and list the models that the workers offer."""
    for vendor in WITH_KEY:
        if vendor.key_in(settings) or vendor.address_in(settings):
            yield key(vendor, settings)
    ollama = OLLAMA.address_in(settings)
    if ollama and is_ok(f"{ollama}{OLLAMA.models_path}"):
        yield Finding(Level.GOOD, f"ollama: answers at {ollama}")
    row = ask_postgres(settings.database_url, OFFERED)
    if row is None:
        return  # `workers` has reported it
    offered = row[0] or []
    if not offered:
        to_do = f"set {KEY_VARIABLES}, or NARU_MODELS"
        servers = (vendor.address_in(settings) for vendor in COMPATIBLE)
        if address := next(filter(None, servers), ""):
            where = address_of(address)
            to_do = f"start the server at {where} and its model: the workers ask it again within a minute"
        yield Finding(Level.WRONG, "models: no worker offers any", to_do)
    elif all(model["demo"] for model in offered):
        to_do = f"set {KEY_VARIABLES} for the worker, and start it again"
        yield Finding(Level.HINT, "models: only the demo simulator answers", to_do)
    else:
        yield Finding(Level.GOOD, f"models: {', '.join(model['name'] for model in offered[:8])}")


OFFERED = """
    SELECT models FROM worker WHERE lost_at IS NULL AND lease_expires_at > clock_timestamp() AND NOT draining
     ORDER BY renewed_at DESC LIMIT 1
"""


def address_of(url: str) -> str:
    """Return a URL's scheme, host and port; the other parts may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def key(vendor: Vendor, settings: Settings) -> Finding:
    """Ask the vendor for its list of models, which costs nothing."""
    name, url = vendor.name, f"{vendor.address_in(settings) or vendor.default_address}{vendor.models_path}"
    if urlsplit(url).scheme not in {"http", "https"}:
        return Finding(Level.WRONG, f"{name}: {url} is not an address", "correct its base URL")
    headers = vendor.headers_with(vendor.key_in(settings))
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme is checked above
    try:
        with urllib.request.urlopen(request, timeout=PROVIDER_SECONDS) as answer:  # noqa: S310
            json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code in {401, 403}:
            return Finding(
                Level.WRONG, f"{name}: refuses the key ({error.code})", "set a valid key and restart the worker"
            )
        return Finding(Level.HINT, f"{name}: answers {error.code} to a request for its models", "check its status page")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        what = f"{name}: {address_of(url)} cannot be reached ({reason})"
        return Finding(Level.WRONG, what, "start it, or check the network, the proxy and the base URL")
    return Finding(Level.GOOD, f"{name}: accepts the key")


def page_and_disk(data: Path) -> Findings:
    """Check the page of a running `up`, and the disk and mode of its data folder."""
    found = []
    if (running := running_on(data)) is not None:
        if is_ok(f"{running.url}/readyz"):
            found.append(Finding(Level.GOOD, f"page: ready at {running.url} (./naru urls shows all addresses)"))
        else:
            found.append(Finding(Level.WRONG, f"page: {running.url} is not ready", f"see {data / 'logs' / 'web.log'}"))
        free = shutil.disk_usage(data).free // 2**20
        if free < FREE_MEGABYTES:
            found.append(Finding(Level.HINT, f"disk: {free} MB free at {data}", "free some space before it is full"))
        if (mode := stat.S_IMODE(data.stat().st_mode)) & stat.S_IROTH:
            to_do = f"chmod 700 {data}, or name a folder for Naru alone with --data"
            found.append(Finding(Level.HINT, f"data: {data} is open to other users (mode {mode:04o})", to_do))
    for finding in found:
        show(finding)
        yield finding


def backups(settings: Settings, data: Path) -> Findings:
    """Check the age of the newest backup, on a machine that makes them."""
    shelf = shelf_of(settings, data)
    if not shelf.folder.is_dir():
        return
    age = shelf.newest_age_seconds()
    if age is not None and age < BACKUP_HOURS * 3600:
        finding = Finding(Level.GOOD, f"backup: the newest is {age / 3600:.0f} h old")
    else:
        what = "none in" if age is None else f"the newest is {age / 3600:.0f} h old in"
        finding = Finding(Level.HINT, f"backup: {what} {shelf.folder}", "see why it failed: ./naru backup")
    show(finding)
    yield finding


CHECKS: tuple[Callable[[Settings], Findings], ...] = (
    postgres,
    postgres_hosts,
    time_limits,
    tables,
    listening,
    redis_sentinels,
    redis_servers,
    workers,
    lanes,
    keys,
    kept,
    accounts,
    company_sign_in,
    smtp,
)
