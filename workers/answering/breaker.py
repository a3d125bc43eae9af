"""Reports of an attempt to the breaker of its lane: the provider works, fails, or has not answered."""

from __future__ import annotations

import asyncio
import logging

from shared import lifecycle
from shared.errors import FirstTokenTimeout, NaruError, ProviderError, RateLimited
from shared.lifecycle import FAILURES, Claimed
from workers.process.context import Context

log = logging.getLogger(__name__)


def provider_works(context: Context, claimed: Claimed) -> None:
    """Close the breaker if it counted failures when this request was claimed. Runs in the event loop."""
    if claimed.lane_failures:
        asyncio.get_running_loop().run_in_executor(None, _close, context, claimed.lane)


def _close(context: Context, lane: str) -> None:
    try:
        lifecycle.recover(context.engine, lane)
    except NaruError as error:
        log.warning("a breaker stays open: Postgres fails", extra={"lane": lane, "error": type(error).__name__})


def provider_fails(context: Context, claimed: Claimed, error: ProviderError) -> None:
    """Count an error against the lane or its provider. An error of the question shows that the provider works.

    A provider that only sends signs of life does not work, although another call would be no use to this question.
    Raises Unavailable.
    """
    if error.retryable or isinstance(error, FirstTokenTimeout):
        lifecycle.record_failure(
            context.engine,
            claimed.lane,
            code=error.code,
            asks_to_slow_down=isinstance(error, RateLimited),
            wait_seconds=min(error.retry_after_seconds or 0.0, context.settings.retry_after_limit_seconds),
            was_probe=claimed.lane_failures >= FAILURES,
        )
    elif claimed.lane_failures:
        lifecycle.recover(context.engine, claimed.lane)


def end_probe(context: Context, claimed: Claimed) -> None:
    """Let another request be the probe, if this one was it: it ended without a word or an error of the provider."""
    if claimed.lane_failures < FAILURES:
        return
    try:
        lifecycle.end_probe(context.engine, claimed.lane)
    except NaruError as error:
        log.info("the next probe waits: Postgres fails", extra={"lane": claimed.lane, "error": type(error).__name__})
