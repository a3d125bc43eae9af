"""The limits per minute of a provider: tokens are reserved before the call, and settled when the attempt ends.

The claim has counted the request already (`shared/lifecycle/rates.py`); an attempt that makes no call gives it back.
Where no limit is set, nothing is asked.
"""

from __future__ import annotations

import asyncio
import logging

from shared.errors import PACED, NaruError, Unavailable
from shared.lifecycle import Claimed, rates
from workers.answering.result import Result
from workers.answering.spending import NotAllowed
from workers.process.context import Context
from workers.process.running import RunningAnswer
from workers.providers.base import Prompt
from workers.providers.tokens import size_of

log = logging.getLogger(__name__)

#: Reserved for an answer whose longest length is unknown or larger. Most answers are shorter.
ANSWER_TOKENS = 1_000
#: A request waits at least this long before it asks again.
LEAST_WAIT_SECONDS = 0.5


def reserve(context: Context, running: RunningAnswer, prompt: Prompt) -> int:
    """Reserve tokens of the provider's minute, and return how many. Raises NotAllowed if none are left.

    While Postgres is away nothing is reserved: the answer goes on. Nor for a call that is taken up: its first attempt
    has reserved for it.
    """
    if running.call.id is not None:
        return 0
    provider = running.claimed.model.partition("/")[0]
    rate = context.registry.rates().get(provider)
    if rate is None or rate.tokens is None:
        return 0
    tokens = size_of(prompt) + min(prompt.max_output_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
    try:
        wait = rates.reserve_tokens(context.engine, provider, tokens)
    except Unavailable:
        return 0
    if wait > 0:
        raise NotAllowed(PACED, wait_seconds=max(wait, LEAST_WAIT_SECONDS))
    return tokens


def settle(context: Context, claimed: Claimed, result: Result) -> None:
    """Replace the reservation by what the attempt used, and give back a request that made no call.

    Never raises: a reservation that stays is on the safe side.
    """
    provider = claimed.model.partition("/")[0]
    rate = context.registry.rates().get(provider)
    used = result.spent.input_tokens + result.spent.output_tokens if result.spent else 0
    try:
        if result.paced_tokens:
            rates.settle_tokens(context.engine, provider, reserved=result.paced_tokens, used=used)
        if rate is not None and rate.requests is not None and not result.is_called:
            rates.give_back_request(context.engine, provider)
    except NaruError as error:
        log.info("a reservation stays: Postgres fails", extra={"lane": provider, "error": type(error).__name__})


def note(context: Context, claimed: Claimed, seconds: float) -> None:
    """Let the lane rest for as long as its provider says that nothing is left. Runs in the event loop."""
    seconds = min(seconds, context.settings.retry_after_limit_seconds)
    if seconds > 0:
        asyncio.get_running_loop().run_in_executor(None, _hold, context, claimed.lane, seconds)


def _hold(context: Context, lane: str, seconds: float) -> None:
    try:
        rates.hold(context.engine, lane, seconds=seconds)
        log.info("a provider has nothing left", extra={"lane": lane, "seconds": round(seconds, 1)})
    except NaruError as error:
        log.info("a lane does not rest: Postgres fails", extra={"lane": lane, "error": type(error).__name__})
