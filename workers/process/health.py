"""The worker's HTTP server: /healthz (its own health), /readyz (Postgres and Redis answer) and /metrics.

The process itself (`shared/wedge.py`), its container's health check (`deploy/images/probe.py`) and Kubernetes act on
the health.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import generate_latest

from shared import metrics
from shared.keeping import Keeping
from shared.postgres import database
from shared.redis import make_client, takes_writes
from workers.process.context import Context

log = logging.getLogger(__name__)

#: The lease thread counts as hung after this many leases without a round; it may wait for two Postgres timeouts in a
#: row.
HUNG_AFTER_LEASES = 3
JSON = "application/json"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class HealthServer:
    """An HTTP server in a thread. With port -1 it does not listen."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen, and log the port; port 0 picks a free one."""
        settings = self._context.settings
        if settings.worker_metrics_port < 0:
            return
        metrics.REGISTRY.register(metrics.SystemGauges(self._context.engine, Keeping.of(settings)))
        address = (settings.worker_metrics_host, settings.worker_metrics_port)
        self._server = ThreadingHTTPServer(address, _handler_of(self._context))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        log.info("metrics", extra={"port": self._server.server_port})

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def health_of(context: Context) -> dict[str, bool]:
    """Return the health of each part of the process by name, True for healthy.

    A healthy process is registered, its lease thread and its event loop run, and requests reach it by hint or by
    pickup. A server that is away makes no part unhealthy, because a restart of this process would not bring it back.
    """
    settings, vitals = context.settings, context.vitals
    now = time.monotonic()
    return {
        "registered": context.member is not None or vitals.is_postgres_away,
        "lease": now - vitals.lease_turned_at < HUNG_AFTER_LEASES * settings.lease_seconds,
        "loop": context.loop.stalled_seconds() < settings.stall_seconds,
        "consuming": now - vitals.consumed_at < settings.lease_seconds or context.is_redis_away(),
    }


def readiness_of(context: Context) -> dict[str, bool]:
    """Ask Postgres and Redis, and return whether each works."""
    settings = context.settings
    with make_client(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds) as redis:
        return {"postgres": database.answers(context.engine), "redis": takes_writes(redis)}


def _handler_of(context: Context) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers the three paths; everything else is 404."""

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._send(200, PROMETHEUS, generate_latest(metrics.REGISTRY))
            elif self.path in ("/healthz", "/readyz"):
                parts = health_of(context) if self.path == "/healthz" else readiness_of(context)
                # Without Redis the worker is slower but works: it is ready, and the body names Redis.
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
            """Log requests at DEBUG only."""
            log.debug("health: %s", self.path)

    return Handler
