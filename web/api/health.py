"""GET /healthz, /readyz and /metrics, for probes and Prometheus. They contain no personal data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from shared import metrics, redis
from shared.postgres import database
from web.api.answers import json_answer
from web.runtime import current_runtime

#: A probe that waits longer than this tells its caller nothing new.
PATIENCE_SECONDS = 2.0


async def health(_: Request) -> Response:
    """Report the liveness checks (web/liveness.py), with 503 if one fails. No other server is queried.

    This only reads the latest results, so it is cheap however often strangers call it.
    """
    bad = [name for name, is_good in current_runtime().liveness.signs().items() if not is_good]
    return json_answer({"status": "wedged", "not_well": bad} if bad else {"status": "ok"}, status=503 if bad else 200)


async def readiness(_: Request) -> Response:
    """Report whether people can be served: not without Postgres, and more slowly without Redis."""
    runtime = current_runtime()
    settings = runtime.settings
    of_postgres, of_redis = await asyncio.gather(
        _probe(lambda: asyncio.to_thread(database.ping, runtime.engine)),
        _probe(lambda: redis.try_write(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)),
    )
    is_ready = of_postgres["ok"]
    status = "unavailable" if not is_ready else "ok" if of_redis["ok"] else "degraded"
    return json_answer({"status": status, "postgres": of_postgres, "redis": of_redis}, status=200 if is_ready else 503)


async def measurements(_: Request) -> Response:
    """Return the metrics for Prometheus. This runs in a thread, because some gauges query Postgres."""
    watcher = current_runtime().watcher
    metrics.ACTIVE_SESSIONS.set(watcher.watched if watcher else 0)
    body = await asyncio.to_thread(generate_latest, metrics.REGISTRY)
    return Response(body, headers={"content-type": CONTENT_TYPE_LATEST, "cache-control": "no-store"})


async def _probe(ask: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        await asyncio.wait_for(ask(), PATIENCE_SECONDS)
    except TimeoutError:
        return {"ok": False, "error": f"no answer within {PATIENCE_SECONDS:g} s"}
    except Exception as error:  # noqa: BLE001 - whatever it is, this server cannot be used now
        # Omit the error's text: a driver's message may contain the address and the user.
        return {"ok": False, "error": type(error).__name__}
    return {"ok": True, "latency_seconds": round(time.monotonic() - began, 4)}
