"""Where Postgres and Redis are, and how each process uses them."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Addresses and limits of the two servers."""

    database_url: str = setting(
        "",
        "Postgres, as postgresql://user:password@host:port/name; may list several hosts",
        secret=True,
        kind="postgres",
    )
    listen_database_url: str = setting(
        "", "Direct connection for LISTEN where DATABASE_URL is a pooler", secret=True, kind="postgres"
    )
    redis_url: str = setting("", "Redis, as redis://:password@host:port/0, or its Sentinels", secret=True, kind="redis")
    database_pool: int = setting(
        5, "Postgres connections per process, besides one that listens and one that notifies", least=2
    )
    redis_timeout_seconds: float = setting(
        1.0, "Longest wait for Redis while a person or an answer waits for it", least=0.05
    )
