"""The use of an attempt: reserved before the call where limits hold, settled when it ends."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from decimal import Decimal

from shared import lifecycle
from shared.errors import (
    OTHERS_FIRST,
    PACED,
    BadStream,
    FirstTokenTimeout,
    IdleTimeout,
    ProviderError,
    StreamBroken,
    TotalTimeout,
    Unavailable,
)
from shared.spending.limits import given_by
from shared.spending.values import Reservation, Spent
from workers.answering.result import Result
from workers.process.context import Context
from workers.process.running import RunningAnswer
from workers.providers.base import Prompt, Usage
from workers.providers.tokens import estimate_tokens, size_of
from workers.providers.windows import output_limit

#: The longest answer where limits hold and NARU_MAX_OUTPUT_TOKENS is not set. It has to be reserved.
LIMITED_OUTPUT_TOKENS = 16_384
#: A request that waits for other answers of its owner looks again after one to two times this many seconds.
LOOK_AGAIN_SECONDS = 1.0
RETRY_SECONDS = 0.5
#: Errors after which the provider bills the prompt. It does not bill what it refused, unless a call is known to run.
_BILLED = (FirstTokenTimeout, IdleTimeout, TotalTimeout, StreamBroken, BadStream)
_MILLION = 1_000_000


class NotAllowed(ProviderError):
    """The limits of the owner or the provider do not allow this call now; the provider was not called."""

    def __init__(self, code: str, *, wait_seconds: float = 0.0) -> None:
        """`code` is the reason; OTHERS_FIRST and PACED make the request wait, for `wait_seconds`."""
        super().__init__()
        self.code = code
        self.is_wait = code in (OTHERS_FIRST, PACED)
        self.wait_seconds = wait_seconds or LOOK_AGAIN_SECONDS * (1 + random.random())


def reserve(context: Context, running: RunningAnswer, prompt: Prompt) -> Prompt:
    """Reserve what this prompt may use, and return it with the longest answer that was reserved.

    Does nothing where no limit is set. Retries for up to `storage_patience_seconds` while Postgres is away. Raises
    NotAllowed and Unavailable.
    """
    if not (running.claimed.may_be_limited or given_by(context.settings).holds_spending):
        return prompt
    limit = time.monotonic() + context.settings.storage_patience_seconds
    while True:
        try:
            return _reserve(context, running, prompt)
        except Unavailable:
            if running.interruption is not None or time.monotonic() > limit:
                raise
            time.sleep(RETRY_SECONDS)


def _reserve(context: Context, running: RunningAnswer, prompt: Prompt) -> Prompt:
    claimed = running.claimed
    most = longest_answer(prompt, context.settings.max_output_tokens)
    size = size_of(prompt)
    price = context.prices.price_of(claimed.model, size)
    reservation = Reservation(
        prompt_tokens=size,
        tokens=size + most,
        cost=price and _dollars(size * price.fresh + most * price.output),
        input_price=price and _dollars(price.fresh),
        output_price=price and _dollars(price.output),
    )
    is_paid = running.call.id is not None
    reason = lifecycle.reserve(context.engine, claimed, reservation, context.settings, is_paid=is_paid)
    if reason is not None:
        raise NotAllowed(reason)
    return replace(prompt, max_output_tokens=most)


def longest_answer(prompt: Prompt, setting: int | None) -> int:
    """Return the longest answer that a limit of spending lets the model write, in tokens. It fits the window."""
    most = min(prompt.max_output_tokens or LIMITED_OUTPUT_TOKENS, setting or LIMITED_OUTPUT_TOKENS)
    return output_limit(most, prompt.window) or most


def spent(context: Context, running: RunningAnswer, prompt: Prompt, result: Result) -> Spent:
    """Return what the attempt used: the provider's figures, or an estimate if it was stopped or broke off.

    A call that the provider has forgotten is billed too, at least its prompt.
    """
    model, forgotten = running.claimed.model, max(0, running.known_calls - 1) * size_of(prompt)
    if result.usage is not None:
        usage = replace(result.usage, input_tokens=result.usage.input_tokens + forgotten)
        return _priced(context, model, usage, is_estimated=forgotten > 0)
    is_refused = result.error is not None and result.is_empty and not isinstance(result.error, _BILLED)
    if not result.is_called or (is_refused and not running.known_calls):
        return Spent()
    written = sum(estimate_tokens(each) for each in (result.text, result.reasoning) if each)
    usage = Usage(size_of(prompt) + forgotten, written)
    return _priced(context, model, usage, is_estimated=True)


def _priced(context: Context, model: str, usage: Usage, *, is_estimated: bool) -> Spent:
    cost = context.prices.cost_of(model, usage)
    return Spent(
        input_tokens=max(usage.input_tokens, 0),
        output_tokens=max(usage.output_tokens, 0),
        cached_input_tokens=max(usage.cached_input_tokens, 0),
        cost=None if cost is None else _dollars(cost * _MILLION),
        is_estimated=is_estimated,
    )


def _dollars(millionths: float) -> Decimal:
    return round(Decimal(millionths) / _MILLION, 12)
