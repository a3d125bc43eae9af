"""The worker's own port: /healthz (it renews and consumes), /readyz (Postgres and Redis, each named), /metrics.

Who acts on a bad health: the process itself (`shared/wedge.py`), its container's health check (deploy/images/probe.py),
Kubernetes.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from prometheus_client import generate_latest

from shared import metrics
from shared.postgres import database
from shared.redis import answers, make_client

if TYPE_CHECKING:
    from workers.worker import Process

log = logging.getLogger(__name__)

#: The lease thread waits for Postgres for up to two of its limits in a row; longer than this it hangs.
LEASE_TURNS = 3
JSON = "application/json"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class HealthServer:
    """A small HTTP server in a thread; none when the port is set to -1."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen; the port is logged, for it may be any free one."""
        settings = self._process.settings
        if settings.worker_metrics_port < 0:
            return
        metrics.REGISTRY.register(metrics.SystemGauges(self._process.engine))
        address = (settings.worker_metrics_host, settings.worker_metrics_port)
        self._server = ThreadingHTTPServer(address, _handler_of(self._process))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        log.info("metrics", extra={"port": self._server.server_port})

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def health_of(process: Process) -> dict[str, bool]:
    """Whether the process lives: it is registered, its lease thread and its loop turn, and work reaches it somehow.

    A server that is away makes none of this bad: starting again would not bring it back.
    """
    settings = process.settings
    now = time.monotonic()
    return {
        "registered": process.member is not None or process.storage_is_away(),
        "lease": now - process.lease_turned_at < LEASE_TURNS * settings.lease_seconds,
        "loop": process.loop.stalled_seconds() < settings.stall_seconds,
        "consuming": now - process.consumed_at < settings.lease_seconds or process.broker_is_away(),
    }


def readiness_of(process: Process) -> dict[str, bool]:
    """Postgres and Redis, each asked now."""
    settings = process.settings
    with make_client(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds) as redis:
        return {"postgres": database.answers(process.engine), "redis": answers(redis)}


def _handler_of(process: Process) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers the three paths; everything else is 404."""

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._send(200, PROMETHEUS, generate_latest(metrics.REGISTRY))
            elif self.path in ("/healthz", "/readyz"):
                parts = health_of(process) if self.path == "/healthz" else readiness_of(process)
                # Redis away is slower, not broken: ready all the same, and named.
                good = all(well for name, well in parts.items() if name != "redis")
                self._send(200 if good else 503, JSON, json.dumps(parts).encode())
            else:
                self._send(404, JSON, b'{"error": "There is nothing here."}')

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not a line per scrape."""
            log.debug("health: %s", self.path)

    return Handler
