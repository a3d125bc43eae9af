"""The metrics and the log line of an attempt, without its text."""

from __future__ import annotations

import logging
import time

from shared import metrics
from shared.lifecycle import Claimed
from shared.tables import Outcome, Status
from workers.answering import spending
from workers.answering.result import Result
from workers.process.context import Context
from workers.process.running import Interruption, RunningAnswer

log = logging.getLogger(__name__)


def provider_of(claimed: Claimed) -> str:
    """Return the name of the provider, for a metric."""
    return claimed.model.partition("/")[0]


def report(context: Context, running: RunningAnswer, result: Result, status: Status | None) -> None:
    """Update the metrics and log the attempt, without its text."""
    claimed = running.claimed
    if result.error is not None and not isinstance(result.error, spending.NotAllowed):
        metrics.PROVIDER_ERRORS.labels(provider_of(claimed), result.error.code).inc()
    outcome = status.value if status else (running.interruption or Interruption.LOST).value
    if status is None and result.error is not None:
        outcome = (Outcome.FELL_BACK if result.fell_back else Outcome.RELEASED).value
    metrics.ATTEMPTS.labels(outcome).inc()
    if status is not None:
        _count_end(context, claimed, result)
    log.info(
        "attempt ended",
        extra={
            "outcome": outcome,
            "model": claimed.model,
            "characters": len(result.text),
            "error_code": result.error.code if result.error else None,
            "provider_request_id": result.as_answer().provider_request_id,
            **_durations(claimed, result),
            **_usage(result),
        },
    )


def _durations(claimed: Claimed, result: Result) -> dict[str, float]:
    """Return the seconds since the question, since the claim, and from the claim to the first token."""
    here = time.monotonic() - claimed.claimed_at
    durations = {"response_seconds": claimed.age_seconds + here, "attempt_seconds": here}
    if result.first_token_at is not None:
        durations["first_token_seconds"] = max(result.first_token_at - claimed.claimed_at, 0.0)
    if result.thinking_seconds:
        durations["thinking_seconds"] = result.thinking_seconds
    return {name: round(seconds, 4) for name, seconds in durations.items()}


def _usage(result: Result) -> dict[str, int]:
    usage = result.usage
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens} if usage else {}


def _count_end(context: Context, claimed: Claimed, result: Result) -> None:
    if claimed.asked_model is not None:
        metrics.STAND_INS.labels(claimed.asked_model, claimed.model).inc()
    metrics.RESPONSE_SECONDS.observe(claimed.age_seconds + time.monotonic() - claimed.claimed_at)
    if result.first_token_at is not None:
        waited = max(result.first_token_at - claimed.claimed_at, 0.0)
        metrics.FIRST_TOKEN_SECONDS.observe(waited)
        metrics.FIRST_WORD_SECONDS.observe(claimed.age_seconds + waited)
    usage = result.usage
    if usage is not None:
        metrics.TOKENS.labels(claimed.model, "input").inc(usage.input_tokens)
        metrics.TOKENS.labels(claimed.model, "output").inc(usage.output_tokens)
    cost = context.prices.cost_of(claimed.model, usage)
    if cost is not None:
        metrics.COST.labels(claimed.model).inc(cost)
    elif result.first_token_at is not None:
        metrics.UNPRICED.labels(claimed.model).inc()
