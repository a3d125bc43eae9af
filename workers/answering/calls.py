"""Calls that go on at their provider when nobody reads them: noted durably, taken up, and cancelled.

The id of such a call is stored while the answer streams, and the next attempt takes the call up. A call whose request
has ended, or has fallen back to another model, is cancelled, so that nobody pays for what nobody reads: by the worker
that ended it, or, if that was nobody's, failed or died, by the next look of any worker that serves the model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from shared import lifecycle
from shared.errors import NaruError, ProviderError, Unavailable
from shared.lifecycle import LeftCall
from shared.spending.values import Spent
from shared.tables import Status
from workers.process.context import Context
from workers.process.running import RunningAnswer

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
LOOK_SECONDS = 5.0
#: The loop keeps only weak references to tasks.
_tasks: set[asyncio.Task[None]] = set()


def watch(context: Context, running: RunningAnswer) -> None:
    """Store the id of the answer's call as soon as its stream knows it. Runs in the event loop."""
    if running.call.id is not None:
        log.info("takes up the call of an earlier attempt")
    running.call.on_begin = lambda call_id: _in_background(_note(context, running, call_id))


async def _note(context: Context, running: RunningAnswer, call_id: str) -> None:
    """Store the id, beside the stream. While Postgres is away, try again for as long as the call runs."""
    while running.call.id == call_id:
        try:
            await asyncio.to_thread(lifecycle.note_call, context.engine, running.claimed, call_id)
        except Unavailable:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


def spent_before(running: RunningAnswer, spent: Spent | None) -> Spent | None:
    """Return what a released attempt used: nothing if its call goes on, as the attempt that takes it up is billed."""
    return spent if running.call.id is None else Spent()


def end(context: Context, running: RunningAnswer, status: Status | None) -> None:
    """Cancel the call of a request that this worker has ended. Returns at once."""
    if status is not None:
        abandon(context, running)


def abandon(context: Context, running: RunningAnswer) -> None:
    """Cancel the answer's call, which nobody will read. Returns at once."""
    if running.call.id is not None:
        left = LeftCall(running.claimed.request_id, running.claimed.model, running.call.id)
        context.loop.call(_in_background, _cancel(context, left))


async def keep_cancelling(context: Context) -> None:
    """Cancel the calls that nobody will read, until cancelled. Models of other workers are left to them."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if not context.registry.has_lasting_calls():
            continue
        try:
            found = await asyncio.to_thread(lifecycle.left_calls, context.engine)
        except (NaruError, SQLAlchemyError):
            continue
        served = [each for each in found if context.registry.has_lasting_calls(each.model)]
        await asyncio.gather(*(_cancel(context, each) for each in served))


async def _cancel(context: Context, left: LeftCall) -> None:
    """Cancel a call and remove its id. If the provider is away, or Postgres, the next look tries again."""
    outcome, of = "cancelled", {"request_id": left.request_id, "model": left.model}
    try:
        provider, _ = context.registry.provider_for(left.model)
        await provider.cancel(left.call_id)
    except ProviderError as error:
        outcome = error.code
        if error.retryable:
            log.info("a call was not cancelled: %s", outcome, extra=of)
            return
    log.info("a call is over: %s", outcome, extra=of)
    with suppress(NaruError, SQLAlchemyError):
        await asyncio.to_thread(lifecycle.forget_call, context.engine, left.request_id, left.call_id)


def _in_background(work: Coroutine[None, None, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
