"""Calls that go on at their provider when nobody reads them: noted durably, taken up, and cancelled.

The id of such a call is stored while the answer streams, and the next attempt takes the call up. A call whose request
has ended, or has fallen back to another model, is cancelled, so that nobody pays for what nobody reads: by the worker
that ended it, or, if that was nobody's, failed or died, by the next look of any worker that serves the model.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from shared import lifecycle
from shared.errors import NaruError, ProviderError, Unavailable
from shared.lifecycle import OrphanedCall
from shared.spending.values import Spent
from shared.tables import Status
from workers.process.context import Context
from workers.process.running import RunningAnswer
from workers.providers.base import Call

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
LOOK_SECONDS = 5.0
#: The pause between two looks grows up to this while calls cannot be cancelled.
LONGEST_PAUSE_SECONDS = 60.0
CANCELS_AT_ONCE = 4
#: The loop keeps only weak references to tasks.
_tasks: set[asyncio.Task[object]] = set()


def begin(context: Context, running: RunningAnswer) -> None:
    """Leave an earlier attempt's call alone if the model's calls do not go on, as this worker knows its provider.

    The operator may have changed the provider's API meanwhile, or workers read different files.
    """
    call_id = running.claimed.call_id
    if call_id is not None and not context.registry.runs_in_background(running.claimed.model):
        running.call, running.unreachable_call_id = Call(), call_id
        running.known_calls = 0


def watch(context: Context, running: RunningAnswer) -> None:
    """Store the id of the answer's call as soon as its stream knows it. Runs in the event loop."""
    if running.call.id is not None:
        log.info("takes up the call of an earlier attempt")

    def on_begin(call_id: str) -> None:
        running.known_calls += 1
        _in_background(_note(context, running, call_id))

    running.call.on_begin = on_begin


async def _note(context: Context, running: RunningAnswer, call_id: str) -> None:
    """Store the id, beside the stream. While Postgres is away, try again for as long as the call runs."""
    while running.call.id == call_id:
        try:
            await asyncio.to_thread(lifecycle.note_call, context.engine, running.claimed, call_id)
        except Unavailable:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


def id_of(running: RunningAnswer) -> str | None:
    """Return the id of the call that may go on after this attempt; None if none does."""
    return running.call.id or running.unreachable_call_id


def spent_before(running: RunningAnswer, spent: Spent | None) -> Spent | None:
    """Return what a released attempt used: nothing if its call goes on, as the attempt that takes it up is billed."""
    return spent if running.call.id is None else Spent()


def cancel_if_ended(context: Context, running: RunningAnswer, status: Status | None) -> None:
    """Cancel the call of a request that this worker has ended. Returns at once."""
    if status is not None:
        cancel(context, running)


def cancel(context: Context, running: RunningAnswer) -> None:
    """Cancel the answer's call, which nobody will read. Returns at once."""
    if running.call.id is not None:
        orphan = OrphanedCall(running.claimed.request_id, running.claimed.model, running.call.id)
        context.loop.call(_in_background, _cancel(context, orphan))


async def keep_cancelling(context: Context) -> None:
    """Cancel the calls that nobody will read, until cancelled. Models of other workers are left to them."""
    pause = LOOK_SECONDS
    while True:
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # the workers of a fleet do not look at the same moment
        try:
            have_ended = await _cancel_orphans(context)
        except (NaruError, SQLAlchemyError):
            continue  # Postgres is away
        except Exception:
            # Without this loop, such calls would run to their end and be billed.
            log.exception("a look for calls to cancel failed")
            continue
        pause = LOOK_SECONDS if have_ended else min(2 * pause, LONGEST_PAUSE_SECONDS)


async def _cancel_orphans(context: Context) -> bool:
    """Cancel some of the calls that outlive their requests. Return whether all of these have ended."""
    providers = context.registry.background_providers()
    if not providers:
        return True
    at_once = asyncio.Semaphore(CANCELS_AT_ONCE)

    async def cancel_one(orphan: OrphanedCall) -> bool:
        async with at_once:
            return await _cancel(context, orphan)

    found = await asyncio.to_thread(lifecycle.orphaned_calls, context.engine, providers)
    return all(await asyncio.gather(*(cancel_one(each) for each in found)))


async def _cancel(context: Context, orphan: OrphanedCall) -> bool:
    """Cancel a call and remove its id. After any error, return False: the call may still run, and is tried again."""
    of = {"request_id": orphan.request_id, "model": orphan.model}
    if not context.registry.runs_in_background(orphan.model):
        return False  # its cancel would do nothing; another worker may reach the call
    try:
        provider, _ = context.registry.provider_for(orphan.model)
        await provider.cancel(orphan.call_id)
    except ProviderError as error:
        log.info("a call was not cancelled: %s", error.code, extra=of)
        return False
    log.info("a call is over", extra=of)
    with suppress(NaruError, SQLAlchemyError):
        await asyncio.to_thread(lifecycle.forget_call, context.engine, orphan.request_id, orphan.call_id)
    return True


def _in_background(work: Coroutine[None, None, object]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
