"""The life of one answer, top-down. A request goes through these steps:

1. (web) `lifecycle.submit` stores the question and the request, `queued`; then the hint is sent.
2. A thread takes a slot of this process for the lane that the hint names. `lifecycle.claim` then chooses the fairest
   request of that lane, and returns its branch of the conversation.
3. The prompt: the branch, fitted to the model's window.
4. The stream, in the process's event loop: each delta goes to the live stream.
5. `finish`, `fail`, `cancel`, `release` or `fall_back`: one fenced statement, retried while Postgres is away.
6. The `end` of the live stream, after the commit.
7. (reconciler) The requests of a lost worker are taken back and begin again at step 2.

`answer()` blocks its thread, which is one of Celery's (for a hint) or the pickup's (while Redis is away). No database
connection is held while the provider streams.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from shared import lifecycle, metrics
from shared.errors import ContextTooLong, NaruError, ProviderError, StreamBroken, Unavailable
from shared.lifecycle import MAX_LOSSES, Claimant, Claimed, lanes
from shared.live.answer import LiveAnswer
from shared.logs import HTTP_REQUEST_ID, bound
from shared.tables import Outcome, Status
from workers.answering import breaker, calls, failing, falling_back, pacing, prompts, report, reuse, spending, windows
from workers.answering.result import Result
from workers.process.context import Context
from workers.process.running import Interruption, RunningAnswer
from workers.providers.base import Done, Prompt
from workers.providers.timeouts import WithTimeouts
from workers.providers.windows import output_limit

log = logging.getLogger(__name__)

#: A hint that waits this long for a slot is dropped, and will be sent again. Celery has as many threads as there are
#: slots, so a hint waits only while the pickup holds some.
SLOT_PATIENCE_SECONDS = 5.0
STORAGE_RETRY_SECONDS = 0.5


def answer(context: Context, lane: str, on_claim: Callable[[], None] | None = None) -> None:
    """Claim a request of the lane and answer it. Blocks until the attempt has ended; returns at once without a claim.

    `on_claim` is called once a request is claimed.

    A hint that this worker cannot use is dropped: the next tick counts the hints that the lane needs.
    """
    with context.running.slot(lane, timeout_seconds=SLOT_PATIENCE_SECONDS) as has_slot:
        # Celery's threads keep running while the loop stands still, but a request claimed then could not stream.
        if not has_slot or context.loop.stalled_seconds() > context.settings.stall_seconds:
            return
        if context.draining.is_set():
            context.hint(lane)  # another worker takes it
            return
        # A request with two losses is a suspect: it may kill its process, which runs only one such request at a time.
        with context.running.suspect_slot() as may_be_suspect:
            claimed = _claim(context, lane, may_be_suspect=may_be_suspect)
            if claimed is None:
                return
            if on_claim is not None:
                on_claim()
            if claimed.losses >= MAX_LOSSES - 1:
                _answer_claimed(context, claimed)
                return
        _answer_claimed(context, claimed)


def _claim(context: Context, lane: str, *, may_be_suspect: bool) -> Claimed | None:
    """Claim for this worker. Return None if nothing can be claimed, or while this worker holds no lease."""
    member = context.member
    if member is None:
        return None
    claimant = Claimant(
        worker_id=member.worker_id,
        models=[model.name for model in member.models],
        owner_running=context.settings.owner_running_questions,
    )
    return lifecycle.claim(context.engine, lane, claimant, may_be_suspect=may_be_suspect)


def _answer_claimed(context: Context, claimed: Claimed) -> None:
    """Stream the answer, store it, end its live stream and report it. Then wake a worker for whoever waited for it."""
    ids = {
        "request_id": claimed.request_id,
        "conversation_id": claimed.conversation_id,
        "attempt": claimed.attempt,
        "worker_id": claimed.worker_id,
    }
    if claimed.http_request_id:
        ids[HTTP_REQUEST_ID] = claimed.http_request_id
    with bound(**ids), context.running.register(claimed) as running:
        calls.begin(context, running)
        metrics.CLAIMS.labels(report.provider_of(claimed)).inc()
        if claimed.attempt == 1:
            metrics.QUEUE_SECONDS.observe(claimed.queue_seconds)
        log.info("claimed", extra={"model": claimed.model, "queue_seconds": round(claimed.queue_seconds, 4)})
        result = _generate(context, running)
        status: Status | None = None
        try:
            status = _store(context, running, result)
        finally:
            pacing.settle(context, claimed, result)
            if running.live is not None:
                context.loop.call(_close_live, context, running.live, status)
            calls.cancel_if_ended(context, running, status)
            if not (result.is_counted or result.has_begun):
                breaker.end_probe(context, claimed)
            if claimed.is_contested or running.interruption is Interruption.DRAIN:
                for lane in _lanes_to_wake(context, claimed.lane):
                    context.hint(lane)
        report.report(context, running, result, status)


def _lanes_to_wake(context: Context, lane: str) -> list[str]:
    """Return the lanes that may use this answer's place, which is the provider's where that has a limit."""
    if not lanes.shares_limit(lane, context.limits):
        return [lane]
    try:
        return lanes.waiting_beside(context.engine, lane)
    except NaruError:
        return [lane]


def _generate(context: Context, running: RunningAnswer) -> Result:
    """Build the prompt and run the stream. A bug in Naru yields a failed answer instead of a lost one."""
    claimed, tokens = running.claimed, 0
    try:
        prompt = _prompt(context, claimed)
        if running.call.id is None and (earlier := reuse.again(context, running, prompt)) is not None:
            return earlier
        tokens = pacing.reserve(context, running, prompt)
        prompt = spending.reserve(context, running, prompt)
        result = context.loop.submit(_stream(context, running, prompt)).result()
        result.spent = spending.spent(context, running, result.sent or prompt, result)
        result.paced_tokens = tokens
        return result
    except spending.NotAllowed as error:
        return Result("", error=error, paced_tokens=tokens)
    except Exception:
        log.exception("an answer failed: internal error")
        text, is_called = (running.live.text(), True) if running.live else ("", False)
        return Result(text, error=failing.OurFault(), is_called=is_called, paced_tokens=tokens)


def _prompt(context: Context, claimed: Claimed) -> Prompt:
    offer = next((each for each in context.registry.offers() if each.name == claimed.model), None)
    tuning = claimed.tuning.over(context.registry.defaults().of(claimed.model))
    system = prompts.instructions(context.settings.system_prompt, tuning.instructions)
    window = windows.window_of(context, claimed.model, offer.context_tokens if offer else None)
    limit = output_limit(context.settings.max_output_tokens or None, window)
    found = prompts.chosen(
        claimed.branch,
        context_tokens=window,
        output_tokens=limit or (offer.max_output_tokens if offer else None),
        system=system,
    )
    return Prompt(
        model=claimed.model,
        messages=found.messages,
        left_out=found.left_out,
        window=window,
        system=system or None,
        max_output_tokens=limit,
        temperature=tuning.temperature,
        effort=tuning.effort,
        trace_id=str(claimed.request_id),
    )


async def _stream(context: Context, running: RunningAnswer, prompt: Prompt) -> Result:
    """Pass the provider's stream on to the live stream.

    Runs in the event loop, and returns within milliseconds of being cancelled.
    """
    result = Result()
    live = running.live = context.publisher.open(running.claimed.request_id, running.claimed.attempt)
    calls.watch(context, running)
    try:
        running.begin()
        try:
            await _call(context, running, live, result, prompt)
        except ContextTooLong as refusal:
            shorter = None if result.has_begun else windows.shorter(running.claimed.branch, prompt, refusal)
            if shorter is None:
                raise
            await _call(context, running, live, result, shorter.prompt)
            if shorter.facts:
                context.registry.knowledge.note(prompt.model, shorter.facts)
        if result.done is None:
            result.error = StreamBroken("the provider's stream ended without a finish mark")
    except ProviderError as error:
        result.error = error
    except asyncio.CancelledError:
        if running.interruption is None:
            raise
        if running.interruption is Interruption.STOP:
            metrics.STOP_SECONDS.observe(time.monotonic() - running.interrupted_at)
    result.take(live, is_replay=running.is_replay)
    return result


async def _call(context: Context, running: RunningAnswer, live: LiveAnswer, result: Result, prompt: Prompt) -> None:
    """Make one call and carry its text and its reasoning. Raises ProviderError."""
    settings = context.settings
    provider, model = context.registry.provider_for(prompt.model)
    result.is_called, result.sent = True, prompt
    reply = provider.stream(replace(prompt, model=model), running.call)
    stream = WithTimeouts(
        reply,
        first_token_seconds=settings.first_token_seconds,
        idle_seconds=settings.idle_seconds,
        total_seconds=min(settings.total_seconds, running.claimed.left_seconds),
        thinking_seconds=settings.thinking_seconds,
    )
    async with aclosing(stream):
        async for item in stream:
            if not result.has_begun:
                result.has_begun = True
                breaker.provider_works(context, running.claimed)
                pacing.note(context, running.claimed, reply.rest_seconds)
            if isinstance(item, Done):
                result.done = item
            else:
                live.add(item)  # text or reasoning
                # Adds what follows until the stream pauses; then the loop waits for the next item.
                await context.publisher.carry(stream, live)


def _store(context: Context, running: RunningAnswer, result: Result) -> Status | None:
    """Store the result, and retry for up to `storage_patience_seconds` while Postgres is away.

    Return the request's final status. None if it goes back to the queue, is no longer this worker's, or could not be
    stored; the reconciler takes back one that could not be stored.
    """
    try:
        return _store_patiently(context, running, result)
    except Exception:
        # If it stayed `running`, it would be given back, answered again and paid for twice. It fails with its text.
        log.exception("an answer could not be stored: internal error")
        result.done, result.error = None, failing.OurFault()
        return _store_patiently(context, running, result)


def _store_patiently(context: Context, running: RunningAnswer, result: Result) -> Status | None:
    limit = time.monotonic() + context.settings.storage_patience_seconds
    is_unsure = False
    while running.interruption is not Interruption.LOST:
        try:
            if is_unsure and (stored := _stored_status(context, running.claimed)) is not None:
                return stored
            return _store_once(context, running, result)
        except Unavailable:
            # The commit may have happened: the next round looks before it writes.
            is_unsure = True
        if time.monotonic() > limit:
            log.error("an answer could not be stored: Postgres was away too long")
            return None
        time.sleep(STORAGE_RETRY_SECONDS)
    return None


def _stored_status(context: Context, claimed: Claimed) -> Status | None:
    """Return the final status that this attempt gave the request, or None."""
    ended = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
    return next((status for status in ended if lifecycle.is_mine(context.engine, claimed, status=status)), None)


def _store_once(context: Context, running: RunningAnswer, result: Result) -> Status | None:
    """Write the end of the attempt. Return the same as `_store`.

    A write changes nothing if a stop or a loss came first; the next write is then tried.
    """
    claimed, stored = running.claimed, result.as_answer(calls.id_of(running))
    if result.done is not None and lifecycle.finish(context.engine, claimed, stored):
        return Status.SUCCEEDED
    if result.error is not None:
        failing.count(context, claimed, result, result.error)
        again = failing.retry(context, claimed, result, result.error)
        result.fell_back = falling_back.fall_back(context, running, result, again)
        breaker.count_lasting(context, claimed, result.error, fell_back=result.fell_back)
        if result.fell_back or (again is not None and failing.release(context, running, stored, result.error, again)):
            return None
        if again is None and lifecycle.fail(context.engine, claimed, stored, code=result.error.code):
            return Status.FAILED
    if running.interruption is Interruption.DRAIN and lifecycle.release(
        context.engine,
        claimed,
        text=stored.text,
        outcome=Outcome.HANDED_OVER,
        spent=calls.spent_before(running, stored.spent),
        call_id=stored.call_id,
    ):
        return None
    if lifecycle.cancel(context.engine, claimed, stored):
        return Status.CANCELLED
    metrics.FENCED_WRITES.inc()
    log.warning("a write was refused: the right to this request was lost")
    return None


def _close_live(context: Context, live: LiveAnswer, status: Status | None) -> None:
    context.publisher.close(live, status=status.value if status else None)
