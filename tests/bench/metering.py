"""The load on the servers: Redis commands; PostgreSQL commits and connections; and their CPU time.

`Meter.read()` returns running totals; the difference between two readings is the load in between.
"""

from __future__ import annotations

import threading
import time
from typing import Self

import psycopg2

from tests.bench.figure import Numbers
from tests.bench.processes import cpu_seconds, tree_cpu_seconds
from tests.bench.stacks import Running

STRESS_THREADS = 16


class Meter:
    """A context manager that reads the totals."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def __enter__(self) -> Self:
        self._connection = psycopg2.connect(self._running.stack.database_url)
        self._connection.autocommit = True
        self._redis = self._running.stack.redis_client()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._redis.close()

    def read(self) -> Numbers:
        """Return the totals of commands, commits and CPU seconds, and the workers' open connections."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
            commits = cursor.fetchone()
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'naru-worker%'")
            connections = cursor.fetchone()
        info = self._redis.info()
        servers = self._running.stack.servers
        return {
            "redis_commands": float(info["total_commands_processed"]),
            "redis_cpu": cpu_seconds(servers.redis.pid),
            "commits": float(commits[0]) if commits else 0.0,
            "postgres_cpu": tree_cpu_seconds(servers.postgres.pid),
            "worker_connections": float(connections[0]) if connections else 0.0,
            "at": time.monotonic(),
        }


def per_second(before: Numbers, after: Numbers) -> Numbers:
    """Return the rates per second between two readings, without the connections."""
    seconds = after["at"] - before["at"]
    kept = {"at", "worker_connections"}
    return {name: (after[name] - before[name]) / seconds for name in after if name not in kept}


def most_commits(database_url: str, *, seconds: float) -> float:
    """Measure the highest rate of commits per second, by UPDATEs of separate rows."""
    make = "CREATE TABLE IF NOT EXISTS bench_commits (id int PRIMARY KEY, n int NOT NULL)"
    fill = f"INSERT INTO bench_commits SELECT i, 0 FROM generate_series(1, {STRESS_THREADS}) i ON CONFLICT DO NOTHING"
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(make)
        cursor.execute(fill)
    connection.close()
    until, counts = time.monotonic() + seconds, [0] * STRESS_THREADS
    threads = [
        threading.Thread(target=_commit, args=(database_url, number, until, counts)) for number in range(STRESS_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def _commit(database_url: str, number: int, until: float, counts: list[int]) -> None:
    statement = f"UPDATE bench_commits SET n = n + 1 WHERE id = {number + 1} RETURNING n"
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        while time.monotonic() < until:
            cursor.execute(statement)
            counts[number] += 1
    connection.close()
