"""The checks of `./naru doctor` on Redis: the server of the hints, and those that share the live streams."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from redis import RedisError

from deploy.cli.findings import Finding, Findings, Level, privacy
from deploy.cli.servers import OLDEST_REDIS
from shared.addresses import server_of
from shared.live.shards import live_urls, twins_among
from shared.redis import make_client, refusal_of
from shared.sentinels import sentinels_of
from shared.settings import Settings

SECONDS = 3.0


def redis_servers(settings: Settings) -> Findings:
    """Check each Redis server, and that no two addresses lead to the same one."""
    yield from carefully("redis", settings.redis_url, variable="REDIS_URL", keeps_hints=True)
    if not settings.live_redis_urls:
        return
    for url in live_urls(settings):
        name = f"live redis {server_of(url)}"
        yield from carefully(name, url, variable="NARU_LIVE_REDIS_URLS", keeps_hints=url == settings.redis_url)
    if twins := twins_among(live_urls(settings), timeout_seconds=SECONDS):
        what = " and ".join(server_of(url) for url in twins)
        yield Finding(Level.WRONG, f"live redis: {what} are the same server", "name each server once")


def carefully(name: str, url: str, *, variable: str, keeps_hints: bool) -> Findings:
    """Yield the findings of one server. One that does not answer does not hide the others'."""
    try:
        yield from one_server(name, url, variable=variable, keeps_hints=keeps_hints)
    except (RedisError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield Finding(Level.WRONG, f"{name}: {reason}", f"start it, or correct {variable}")


def one_server(name: str, url: str, *, variable: str, keeps_hints: bool) -> Findings:
    """Check a server's version, role, policy for a full memory, and, where it keeps hints, its durability."""
    with make_client(url, timeout_seconds=SECONDS) as client:
        info: dict[str, Any] = dict(client.info())
        refusal = refusal_of(client)
    version = f"{name}: {info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
    if tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < OLDEST_REDIS:
        yield Finding(Level.WRONG, version, "use 6.2 or newer")
    else:
        yield Finding(Level.GOOD, version)
    if refusal:
        to_do = "until it takes writes, Naru goes on without it; see the next lines, or its log"
        yield Finding(Level.WRONG, f"{name}: refuses a write: {refusal}", to_do)
    if info.get("role") != "master":
        yield Finding(Level.WRONG, f"{name}: this is a replica", f"point {variable} at the primary")
    if info.get("maxmemory_policy") != "noeviction":
        to_do = "CONFIG SET maxmemory-policy noeviction: a full memory must refuse, not drop hints or text at random"
        yield Finding(Level.WRONG, f"{name}: maxmemory-policy is {info.get('maxmemory_policy')}", to_do)
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > 0.8 * limit:
        yield Finding(Level.HINT, f"{name}: {used / limit:.0%} of its memory is used", "give it more: maxmemory")
    if keeps_hints and not info.get("aof_enabled"):
        to_do = "CONFIG SET appendonly yes; without it a restart loses hints, which ticks replace within seconds"
        yield Finding(Level.HINT, f"{name}: nothing is written to disk", to_do)
    found, parts = sentinels_of(url), urlsplit(url)
    names = {parts.hostname or "127.0.0.1"} if found is None else {host for host, _ in found.places}
    has_password = bool(parts.password if found is None else found.password)
    yield from privacy(name, names, has_password=has_password, secure=parts.scheme == "rediss")
