"""The life of one answer, top-down. The whole life of a request is:

1. (web) `lifecycle.submit` stores the question and the request `queued`; the hint is sent behind it.
2. A slot of this process, then `lifecycle.claim`: the row says whether there is anything to do, and what was said.
3. The prompt: that branch, fitted to the model's window.
4. The stream, in the process's event loop: each delta goes to the live stream; nothing else happens to it.
5. `finish`, `fail`, `cancel` or `release`: one fenced statement, waiting for Postgres if it must.
6. The live stream's end, after the commit.
7. (reconciler) what a lost worker leaves behind is taken back, and 2. begins again elsewhere.

`answer()` runs in a thread that waits: Celery's (through the hint) or the pickup's (when Redis is away). No database
connection is held while the provider streams.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from uuid import UUID

from shared import lifecycle, metrics
from shared.errors import INTERNAL, ProviderError, StreamBroken, Unavailable
from shared.lifecycle import Answer, Claimed
from shared.live.publisher import LiveAnswer
from shared.logs import bound
from shared.tables import Outcome, Status
from workers.answering import prompts, retries
from workers.process.context import Context
from workers.process.running import Interruption, RunningAnswer
from workers.providers.base import Done, Prompt
from workers.providers.timeouts import WithTimeouts

log = logging.getLogger(__name__)

#: A hint that finds every slot taken (only while the pickup holds some) is dropped after this: it will be sent again.
SLOT_PATIENCE_SECONDS = 5.0
STORAGE_RETRY_SECONDS = 0.5


@dataclass(slots=True)
class Streamed:
    """How a stream ended: with `done`, or with `error`, or interrupted (neither)."""

    text: str
    done: Done | None = None
    error: ProviderError | None = None
    first_token_at: float | None = None

    def as_answer(self) -> Answer:
        """What the lifecycle stores of it."""
        usage = self.done.usage if self.done else None
        ago = None if self.first_token_at is None else time.monotonic() - self.first_token_at
        request_id = self.done.provider_request_id if self.done else None
        if request_id is None and self.error is not None:
            request_id = self.error.provider_request_id
        return Answer(
            text=self.text,
            finish=self.done.finish.value if self.done else None,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cached_input_tokens=usage.cached_input_tokens if usage else None,
            provider_request_id=request_id,
            first_token_ago_seconds=ago,
        )


def answer(context: Context, request_id: UUID) -> None:
    """Answer a request if it is there to be answered; never raises but for a fault of ours, which is logged."""
    with bound(request_id=request_id), context.running.slot(timeout_seconds=SLOT_PATIENCE_SECONDS) as free:
        if not free:
            return
        # Where the loop stands still, Celery's threads do not: what they took would wait for this process in vain.
        if context.draining.is_set() or context.loop.stalled_seconds() > context.settings.stall_seconds:
            lifecycle.undispatch(context.engine, request_id, models=())
            return
        if context.member is not None and not context.member.models:
            return  # it waits until a server lists its models here, or for another worker
        claimed = _claim(context, request_id, as_suspect=False)
        if claimed is not None:
            _answer_claimed(context, claimed)
            return
        with context.running.suspicion() as alone:
            claimed = _claim(context, request_id, as_suspect=True) if alone else None
            if claimed is not None:
                _answer_claimed(context, claimed)
                return
        if context.member is not None:
            served = ["", *(model.name for model in context.member.models)]
            lifecycle.undispatch(context.engine, request_id, models=served)


def _claim(context: Context, request_id: UUID, *, as_suspect: bool) -> Claimed | None:
    member = context.member
    if member is None:
        return None
    return lifecycle.claim(
        context.engine,
        request_id,
        worker_id=member.worker_id,
        models=[model.name for model in member.models],
        as_suspect=as_suspect,
    )


def _answer_claimed(context: Context, claimed: Claimed) -> None:
    with (
        bound(conversation_id=claimed.conversation_id, attempt=claimed.attempt, worker_id=claimed.worker_id),
        context.running.answering(claimed) as running,
    ):
        metrics.CLAIMS.labels(_provider_of(claimed)).inc()
        if claimed.attempt == 1:
            metrics.QUEUE_SECONDS.observe(claimed.queue_seconds)
        log.info("claimed", extra={"model": claimed.model, "queue_seconds": round(claimed.queue_seconds, 4)})
        streamed = _streamed(context, running)
        status: Status | None = None
        try:
            status = _store(context, running, streamed)
        finally:
            if running.live is not None:
                context.loop.call(_close_live, context, running.live, status)
        _note(context, running, streamed, status)


def _close_live(context: Context, live: LiveAnswer, status: Status | None) -> None:
    context.publisher.close(live, status=status.value if status else None)


def _streamed(context: Context, running: RunningAnswer) -> Streamed:
    """The prompt and the stream; a fault of ours ends as a failed answer, not as a lost one."""
    try:
        prompt = _prompt(context, running.claimed)
        return context.loop.submit(_stream(context, running, prompt)).result()
    except Exception:
        log.exception("an answer failed by our own fault")
        return Streamed(running.live.text() if running.live else "", error=_OurFault())


class _OurFault(ProviderError):
    """Something in Naru failed while it answered."""

    code = INTERNAL


def _prompt(context: Context, claimed: Claimed) -> Prompt:
    offer = next((each for each in context.registry.offers() if each.name == claimed.model), None)
    system = context.settings.system_prompt
    limit = context.settings.max_output_tokens or (offer.max_output_tokens if offer else None)
    return Prompt(
        model=claimed.model,
        messages=prompts.fitted(
            prompts.sendable(claimed.branch),
            context_tokens=offer.context_tokens if offer else None,
            output_tokens=limit,
            system=system,
        ),
        system=system or None,
        max_output_tokens=limit,
        trace_id=str(claimed.request_id),
    )


async def _stream(context: Context, running: RunningAnswer, prompt: Prompt) -> Streamed:
    """Run the provider's stream into the live stream; runs in the event loop and ends within ms of a cancel."""
    settings, streamed = context.settings, Streamed("")
    live = running.live = context.publisher.open(running.claimed.request_id, running.claimed.attempt)
    try:
        running.begin()
        provider, model = context.registry.provider_for(prompt.model)
        stream = WithTimeouts(
            provider.stream(replace(prompt, model=model)),
            first_token_seconds=settings.first_token_seconds,
            idle_seconds=settings.idle_seconds,
            total_seconds=min(settings.total_seconds, running.claimed.left_seconds),
        )
        async with aclosing(stream):
            async for item in stream:
                if isinstance(item, Done):
                    streamed.done = item
                else:
                    if streamed.first_token_at is None:
                        streamed.first_token_at = time.monotonic()
                    live.add(item)
                    await context.publisher.carry(stream, live)
        if streamed.done is None:
            streamed.error = StreamBroken("the provider's stream ended without its end")
    except ProviderError as error:
        streamed.error = error
    except asyncio.CancelledError:
        if running.interruption is None:
            raise
        if running.interruption is Interruption.STOP:
            metrics.STOP_SECONDS.observe(time.monotonic() - running.interrupted_at)
    streamed.text = live.text()
    return streamed


def _store(context: Context, running: RunningAnswer, streamed: Streamed) -> Status | None:
    """Write the end, waiting for Postgres as long as an answer may wait; the status it ended in, None for none."""
    try:
        return _store_patiently(context, running, streamed)
    except Exception:
        # Left running it would be given back and answered again, and paid again: it ends, with the text it has.
        log.exception("an answer could not be stored by our own fault")
        return _store_patiently(context, running, Streamed(streamed.text, error=_OurFault()))


def _store_patiently(context: Context, running: RunningAnswer, streamed: Streamed) -> Status | None:
    limit = time.monotonic() + context.settings.storage_patience_seconds
    unsure = False
    while running.interruption is not Interruption.LOST:
        try:
            return _store_once(context, running, streamed, unsure=unsure)
        except Unavailable:
            # Whether the commit happened is not known: the next try finds out by reading first.
            unsure = True
            if time.monotonic() > limit:
                log.error("an answer could not be stored: Postgres was away too long")  # noqa: TRY400 - no news in it
                return None
            time.sleep(STORAGE_RETRY_SECONDS)
    return None


def _store_once(context: Context, running: RunningAnswer, streamed: Streamed, *, unsure: bool) -> Status | None:
    claimed, answer = running.claimed, streamed.as_answer()
    if unsure:
        for status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED):
            if lifecycle.is_mine(context.engine, claimed, status=status):
                return status
    if streamed.done is not None and lifecycle.finish(context.engine, claimed, answer):
        return Status.SUCCEEDED
    if streamed.error is not None:
        ended = _store_error(context, claimed, streamed, streamed.error)
        if ended is not Status.RUNNING:
            return ended
    if running.interruption is Interruption.DRAIN and _release(context, claimed, answer, Outcome.HANDED_OVER):
        return None
    if lifecycle.cancel(context.engine, claimed, answer):
        return Status.CANCELLED
    metrics.FENCED_WRITES.inc()
    log.warning("a write was refused: the right to this request was lost")
    return None


def _store_error(context: Context, claimed: Claimed, streamed: Streamed, error: ProviderError) -> Status | None:
    """FAILED, None when it goes back to the queue, RUNNING when neither could be written (stopped, or not ours)."""
    answer = streamed.as_answer()
    again = retries.decide(
        error,
        context.settings,
        tries=claimed.tries,
        broken_streams=claimed.broken_streams,
        had_text=bool(streamed.text),
        left_seconds=claimed.left_seconds - (time.monotonic() - claimed.claimed_at),
    )
    if again is None:
        return Status.FAILED if lifecycle.fail(context.engine, claimed, answer, code=error.code) else Status.RUNNING
    freed = lifecycle.release(
        context.engine,
        claimed,
        text=answer.text,
        outcome=Outcome.RELEASED,
        wait_seconds=again.wait_seconds,
        code=error.code,
        broken=again.broken,
    )
    return None if freed else Status.RUNNING


def _release(context: Context, claimed: Claimed, answer: Answer, outcome: Outcome) -> bool:
    return lifecycle.release(context.engine, claimed, text=answer.text, outcome=outcome)


def _provider_of(claimed: Claimed) -> str:
    return claimed.model.partition("/")[0]


def _note(context: Context, running: RunningAnswer, streamed: Streamed, status: Status | None) -> None:
    """Count it and log it, without a word of it."""
    claimed = running.claimed
    if streamed.error is not None:
        metrics.PROVIDER_ERRORS.labels(_provider_of(claimed), streamed.error.code).inc()
    outcome = status.value if status else (running.interruption or Interruption.LOST).value
    if status is None and streamed.error is not None:
        outcome = Outcome.RELEASED.value
    metrics.ATTEMPTS.labels(outcome).inc()
    if status is not None:
        _note_end(context, claimed, streamed)
    log.info(
        "attempt ended",
        extra={
            "outcome": outcome,
            "model": claimed.model,
            "characters": len(streamed.text),
            "error_code": streamed.error.code if streamed.error else None,
            "provider_request_id": streamed.as_answer().provider_request_id,
            **_durations(claimed, streamed),
            **_usage(streamed),
        },
    )


def _durations(claimed: Claimed, streamed: Streamed) -> dict[str, float]:
    """Seconds: since the question, since the claim, and from the claim to the model's first word."""
    now, first_at = time.monotonic(), streamed.first_token_at
    here = now - claimed.claimed_at
    found = {"response_seconds": claimed.age_seconds + here, "attempt_seconds": here}
    if first_at is not None:
        found["first_token_seconds"] = max(first_at - claimed.claimed_at, 0.0)
    return {name: round(seconds, 4) for name, seconds in found.items()}


def _usage(streamed: Streamed) -> dict[str, int]:
    usage = streamed.done.usage if streamed.done else None
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens} if usage else {}


def _note_end(context: Context, claimed: Claimed, streamed: Streamed) -> None:
    metrics.RESPONSE_SECONDS.observe(claimed.age_seconds + time.monotonic() - claimed.claimed_at)
    if streamed.first_token_at is not None:
        waited = max(streamed.first_token_at - claimed.claimed_at, 0.0)
        metrics.FIRST_TOKEN_SECONDS.observe(waited)
        metrics.FIRST_WORD_SECONDS.observe(claimed.age_seconds + waited)
    usage = streamed.done.usage if streamed.done else None
    if usage is not None:
        metrics.TOKENS.labels(claimed.model, "input").inc(usage.input_tokens)
        metrics.TOKENS.labels(claimed.model, "output").inc(usage.output_tokens)
    cost = context.prices.cost_of(claimed.model, usage)
    if cost is not None:
        metrics.COST.labels(claimed.model).inc(cost)
    elif streamed.first_token_at is not None:
        metrics.UNPRICED.labels(claimed.model).inc()
