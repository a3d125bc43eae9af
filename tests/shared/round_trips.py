"""A counter of this thread's round trips to Postgres."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2.extensions

from shared.postgres import connections


@contextmanager
def counted_round_trips() -> Iterator[list[object]]:
    """Yield a list that grows by one entry with each wait of this thread for the server."""
    waits: list[object] = []
    here = threading.get_ident()

    def wait(connection: psycopg2.extensions.connection) -> None:
        if threading.get_ident() == here:
            waits.append(connection)
        connections.wait_for_server(connection)

    psycopg2.extensions.set_wait_callback(wait)
    try:
        yield waits
    finally:
        psycopg2.extensions.set_wait_callback(connections.wait_for_server)
