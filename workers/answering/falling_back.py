"""Fallback: another model answers where the chosen one is away. When, and which one.

`shared/lifecycle/falling_back.py` moves the request to the other model's lane. The chains come from providers.toml and
NARU_FALLBACK (`workers/providers/fallbacks.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from uuid import UUID

from shared import lifecycle
from shared.errors import (
    AuthFailed,
    BadStream,
    ConnectFailed,
    FirstTokenTimeout,
    IdleTimeout,
    ModelNotFound,
    NaruError,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    StreamBroken,
    WrongAddress,
)
from shared.lifecycle import Claimed, Detour
from shared.lifecycle.falling_back import PATIENCE_SECONDS
from workers.answering import calls
from workers.answering.result import Result
from workers.answering.retries import Again
from workers.process.context import Context
from workers.process.running import RunningAnswer

log = logging.getLogger(__name__)

#: How often a worker looks for waiting requests whose model is away.
LOOK_SECONDS = 1.0
#: Errors of a server, its key or its account. An error of the question would meet the next model too.
_OF_THE_SERVER = (
    RateLimited,
    Overloaded,
    ServerFailed,
    ConnectFailed,
    FirstTokenTimeout,
    IdleTimeout,
    StreamBroken,
    BadStream,
    QuotaExhausted,
    AuthFailed,
    ModelNotFound,
    WrongAddress,
)


def fall_back(context: Context, running: RunningAnswer, result: Result, again: Again | None) -> bool:
    """Give the request to the next model of its chain; False if it stays with this one. Raises Unavailable.

    `again` is the next try of this model. The first error waits for that one, if it is soon.
    """
    claimed, error = running.claimed, result.error
    if error is None or not isinstance(error, _OF_THE_SERVER) or not result.is_empty or claimed.broken_streams:
        return False
    if again is not None and _is_soon(claimed, error, again):
        return False
    detour = _detour(context, claimed.asked_model or claimed.model, claimed.model)
    if detour is None:
        return False
    lane = lifecycle.fall_back(
        context.engine,
        claimed,
        detour,
        context.settings,
        code=error.code,
        spent=result.spent,
        only_open=again is not None,
        call_id=calls.id_of(running),
    )
    if lane is None:
        return False
    log.info("fell back", extra={"model": claimed.model, "error_code": error.code, "lane": lane})
    calls.cancel(context, running)
    context.hint(lane)
    return True


def _is_soon(claimed: Claimed, error: ProviderError, again: Again) -> bool:
    is_first = not (claimed.tries or isinstance(error, FirstTokenTimeout))
    return is_first and again.wait_seconds <= PATIENCE_SECONDS


def _detour(context: Context, asked: str, present: str) -> Detour | None:
    """Return the models behind `present` in the chain of `asked`; None if there is none."""
    models = context.registry.behind(asked, present)
    if not models:
        return None
    unpriced = frozenset(each for each in models if context.prices.price_of(each, 0) is None)
    return Detour(models=models, unpriced=unpriced)


async def keep_diverting(context: Context) -> None:
    """Move waiting requests to other models while their own are away, until cancelled.

    Does nothing without chains. A request that has fallen back already stays where it is: it moves on when it fails.
    """
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        chains = context.registry.chains()
        detours = {head: each for head in chains if (each := _detour(context, head, head)) is not None}
        member = context.member
        if not detours or member is None or context.draining.is_set():
            continue
        here = {model.name for model in member.models}
        try:
            moved = await asyncio.to_thread(_divert, context, detours, here)
        except NaruError as error:
            log.info("no request was diverted: Postgres fails", extra={"error": type(error).__name__})
            continue
        except Exception:
            # Without this loop, requests would wait for a model that is away.
            log.exception("a look for requests to divert failed")
            continue
        for request_id, lane in moved.items():
            log.info("diverted", extra={"request_id": str(request_id), "lane": lane})
            context.hint(lane)


def _divert(context: Context, detours: Mapping[str, Detour], here: Collection[str]) -> dict[UUID, str]:
    return lifecycle.divert(context.engine, detours, context.settings, here=here)
