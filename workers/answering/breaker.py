"""Reports of an attempt to the breaker of its lane: the provider works, fails, or has not answered."""

from __future__ import annotations

import asyncio
import logging

from shared import lifecycle
from shared.errors import (
    AuthFailed,
    FirstTokenTimeout,
    ModelNotFound,
    NaruError,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    WrongAddress,
)
from shared.lifecycle import FAILURES, Claimed
from workers.process.context import Context

log = logging.getLogger(__name__)

#: The next call would meet these too. A model that is gone says nothing about the provider's others.
_OF_PROVIDER = (AuthFailed, QuotaExhausted, WrongAddress)
_LASTING = (*_OF_PROVIDER, ModelNotFound)
#: The pause after a lasting error: waiting requests are diverted meanwhile, and other models of the provider wait.
LASTING_SECONDS = 10.0


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
    Lasting errors count in `count_lasting`. Raises Unavailable.
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
    elif claimed.lane_failures and not isinstance(error, _LASTING):
        lifecycle.recover(context.engine, claimed.lane)


def count_lasting(context: Context, claimed: Claimed, error: ProviderError, *, fell_back: bool) -> None:
    """Count a lasting error if another model took the request over, so that others need not ask this one first.

    Otherwise close the breaker: whoever has no other model should read the reason at once, instead of waiting. The same
    holds for a request that had fallen back to this model, because such requests are not diverted once more.
    """
    if not isinstance(error, _LASTING):
        return
    is_own = claimed.lane == claimed.model
    try:
        if fell_back and claimed.asked_model is None and (is_own or isinstance(error, _OF_PROVIDER)):
            lifecycle.record_failure(
                context.engine,
                claimed.lane,
                code=error.code,
                asks_to_slow_down=isinstance(error, ModelNotFound),  # closes this lane only
                wait_seconds=LASTING_SECONDS,
                was_probe=claimed.lane_failures >= FAILURES,
            )
        elif claimed.lane_failures:
            lifecycle.recover(context.engine, claimed.lane)
    except NaruError as failure:
        kind = type(failure).__name__
        log.info("a lasting error is not counted: Postgres fails", extra={"lane": claimed.lane, "error": kind})


def end_probe(context: Context, claimed: Claimed) -> None:
    """Let another request be the probe, if this one was it: it ended without a word or an error of the provider."""
    if claimed.lane_failures < FAILURES:
        return
    try:
        lifecycle.end_probe(context.engine, claimed.lane)
    except NaruError as error:
        log.info("the next probe waits: Postgres fails", extra={"lane": claimed.lane, "error": type(error).__name__})
