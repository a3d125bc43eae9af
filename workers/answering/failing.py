"""The consequences of an attempt's error: the breaker counts it, and the request is tried again or not."""

from __future__ import annotations

import time

from shared import lifecycle
from shared.errors import INTERNAL, ProviderError, TotalTimeout
from shared.lifecycle import Answer, Claimed
from shared.tables import Outcome
from workers.answering import breaker, calls, retries, spending
from workers.answering.result import Result
from workers.process.context import Context
from workers.process.running import RunningAnswer


class OurFault(ProviderError):
    """An internal error of Naru."""

    code = INTERNAL


def count(context: Context, claimed: Claimed, result: Result, error: ProviderError) -> None:
    """Count an error before the answer began, once: storing the answer may take several rounds."""
    if not (result.is_counted or result.has_begun or isinstance(error, OurFault | TotalTimeout | spending.NotAllowed)):
        breaker.provider_fails(context, claimed, error)
        result.is_counted = True


def retry(context: Context, claimed: Claimed, result: Result, error: ProviderError) -> retries.Again | None:
    """Return when to try again, or None when the request fails with this error."""
    if isinstance(error, spending.NotAllowed):
        return retries.Again(error.wait_seconds, broken=False) if error.is_wait else None
    return retries.decide(
        error,
        context.settings,
        tries=claimed.tries,
        broken_streams=claimed.broken_streams,
        retrying_seconds=claimed.retrying_seconds,
        had_text=not result.is_empty,
        left_seconds=claimed.left_seconds - (time.monotonic() - claimed.claimed_at),
    )


def release(
    context: Context, running: RunningAnswer, stored: Answer, error: ProviderError, again: retries.Again
) -> bool:
    """Return the request to the queue until `again`; False if the worker lost it or somebody asked for a stop."""
    return lifecycle.release(
        context.engine,
        running.claimed,
        text=stored.text,
        outcome=Outcome.RELEASED,
        wait_seconds=again.wait_seconds,
        code=error.code,
        broken=again.broken,
        spent=calls.spent_before(running, stored.spent),
        call_id=stored.call_id,
    )
