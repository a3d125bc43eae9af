"""The tokens per minute of a provider: reserved before the call, settled when the attempt ends.

The claim has counted the request already (`shared/lifecycle/rates.py`). Where no limit is set, nothing is asked.
"""

from __future__ import annotations

import asyncio
import logging

from shared.errors import PACED, NaruError, Unavailable
from shared.lifecycle import Claimed, rates
from workers.answering.result import Result
from workers.answering.spending import NotAllowed
from workers.process.context import Context
from workers.providers.base import Prompt
from workers.providers.headroom import Headroom
from workers.providers.tokens import size_of

log = logging.getLogger(__name__)

#: Reserved for an answer whose longest length is unknown or larger. Most answers are shorter.
ANSWER_TOKENS = 1_000
#: A request waits at least this long before it asks again.
LEAST_WAIT_SECONDS = 0.5


def reserve(context: Context, claimed: Claimed, prompt: Prompt) -> int:
    """Reserve tokens of the provider's minute, and return how many. Raises NotAllowed if none are left.

    While Postgres is away nothing is reserved: the answer goes on. Nor for a call that is taken up: its first attempt
    has reserved for it.
    """
    if claimed.call_id is not None:
        return 0
    provider = claimed.model.partition("/")[0]
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
    """Replace the reservation by what the attempt used. Never raises: a reservation that stays is on the safe side."""
    if not result.paced_tokens:
        return
    used = result.spent.input_tokens + result.spent.output_tokens if result.spent else 0
    provider = claimed.model.partition("/")[0]
    try:
        rates.settle_tokens(context.engine, provider, reserved=result.paced_tokens, used=used)
    except NaruError as error:
        log.info("tokens stay reserved: Postgres fails", extra={"lane": provider, "error": type(error).__name__})


def note(context: Context, claimed: Claimed, prompt: Prompt, headroom: Headroom | None) -> None:
    """Let the lane rest if its provider says that nothing is left. Runs in the event loop."""
    if headroom is None:
        return
    most = context.settings.retry_after_limit_seconds
    requests, tokens = (min(each, most) for each in headroom.pauses(size_of(prompt)))
    if requests or tokens:
        asyncio.get_running_loop().run_in_executor(None, _hold, context, claimed.lane, requests, tokens)


def _hold(context: Context, lane: str, requests: float, tokens: float) -> None:
    try:
        rates.hold(context.engine, lane, requests_seconds=requests, tokens_seconds=tokens)
        log.info("a provider has nothing left", extra={"lane": lane, "seconds": round(max(requests, tokens), 1)})
    except NaruError as error:
        log.info("a lane does not rest: Postgres fails", extra={"lane": lane, "error": type(error).__name__})
