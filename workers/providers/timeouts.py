"""Limits the wait for a provider: for the first token, between two tokens, while the model only thinks, and in total.

A server that sends signs of life without text, such as comments, gets LIFE_FACTOR times as long.

A stream has one timer, not one per delta: it sleeps until the earliest moment at which a limit could be reached, then
looks again. Only the time in which the reader waits for the provider counts as silence.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import monotonic

from shared.errors import FirstTokenTimeout, IdleTimeout, ProviderError, ThinkingTimeout, TotalTimeout
from workers.providers.base import Done, Stream, Thought

#: How many times longer than a limit a wait for text may take while the server sends anything else.
LIFE_FACTOR = 4.0


class StillWaiting(FirstTokenTimeout):
    """The model sent signs of life, but did not begin to answer in time."""

    # The server works on the call, and will bill it: a second call would wait as long and be billed too.
    retryable = False


@dataclass(frozen=True, slots=True)
class _Limits:
    """The limits of one stream, in seconds."""

    first_token: float
    idle: float
    total: float
    thinking: float


class WithTimeouts(Stream):
    """Yields the items of `stream` that arrive in time.

    At a limit it closes `stream`, and with it the provider's connection, and raises FirstTokenTimeout, IdleTimeout,
    ThinkingTimeout or TotalTimeout. `aclose` closes `stream` too.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        first_token_seconds: float,
        idle_seconds: float,
        total_seconds: float,
        thinking_seconds: float = math.inf,
    ) -> None:
        """`thinking_seconds` limits each time that the model thinks without writing."""
        super().__init__()
        self._stream = stream
        self._limits = _Limits(first_token_seconds, idle_seconds, total_seconds, thinking_seconds)
        self._watch: _Watch | None = None

    def take(self) -> str:
        """See `base.Stream.take`. Empty after the total limit or that of thinking, which the next item raises."""
        watch = self._watch
        if watch is None or watch.is_over:
            return ""
        text = self._stream.take()
        if watch.is_thinking or text.__class__ is Thought:
            watch.note(text)
        return text

    async def _run(self) -> AsyncGenerator[str | Done, None]:
        watch = self._watch = _Watch(self._stream, self._limits)
        try:
            while True:
                watch.asked_at = monotonic()
                item = await self._stream.__anext__()
                watch.note(item)
                watch.got()
                yield item
        except StopAsyncIteration:
            return
        except asyncio.CancelledError:
            watch.check_cancelled()
            raise
        finally:
            watch.close()
            await self._stream.aclose()


class _Watch:
    """The timer of one stream. At a limit it cancels the reading task, but only while the task waits for an item."""

    def __init__(self, stream: Stream, limits: _Limits) -> None:
        self._stream = stream
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a stream with timeouts must be read in a task")
        self._task = task
        self._cancellings = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._total_end = self._end = monotonic() + limits.total
        self.is_thinking = False
        self._started = False
        self._expired: ProviderError | None = None
        #: When the reader began to wait for the provider; 0 while it does not wait.
        self.asked_at = 0.0
        self._timer = self._loop.call_later(min(limits.first_token, limits.total), self._look)

    @property
    def is_over(self) -> bool:
        """Whether the total limit has passed, or the limit of the thinking."""
        return monotonic() >= self._end

    def note(self, item: str | Done) -> None:
        """Note whether the model thinks or writes. Nothing arrived if `item` is empty."""
        if isinstance(item, Thought):
            if not self.is_thinking:
                self.is_thinking = True
                self._end = min(self._total_end, monotonic() + self._limits.thinking)
        elif item and self.is_thinking and not self.is_over:
            self.is_thinking, self._end = False, self._total_end

    def got(self) -> None:
        """Note that an item arrived. Raises if it was too late."""
        self.asked_at = 0.0
        if not self._started:
            self._started = True
            self._timer.cancel()
            self._timer = self._loop.call_later(self._limits.idle, self._look)
        if self._expired is not None:
            self.check_cancelled()
        if self.is_over:
            # If the provider is never silent, the timer never finds the reader waiting.
            raise self._over()

    def check_cancelled(self) -> None:
        """Raise the error of the limit, if this watch caused the cancellation; leave any other one alone."""
        if self._expired is not None and self._task.uncancel() <= self._cancellings:
            raise self._expired from None

    def close(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = monotonic()
        error = self._reached(now)
        if error is None:
            self._timer = self._loop.call_later(max(self._next(now) - now, 0.001), self._look)
            return
        self._expired = error
        self._task.cancel()

    def _reached(self, now: float) -> ProviderError | None:
        if not self.asked_at:
            return None
        if now >= self._end:
            return self._over()
        if now < self._end_of_silence():
            return None
        if self._started:
            return IdleTimeout()
        is_alive = now < self._stream.heard_at + self._silence
        # The next attempt makes no second call if this one goes on.
        return StillWaiting() if is_alive and not self._stream.goes_on else FirstTokenTimeout()

    def _over(self) -> ProviderError:
        return ThinkingTimeout() if self.is_thinking else TotalTimeout()

    def _next(self, now: float) -> float:
        soonest = self._end_of_silence() if self.asked_at else now + self._silence
        # After the end, with the reader busy elsewhere, `got` or the next look notices.
        return min(soonest, self._end) if self._end > now else soonest

    @property
    def _silence(self) -> float:
        return self._limits.idle if self._started else self._limits.first_token

    def _end_of_silence(self) -> float:
        """Return when the present wait reaches its limit, unless the server is heard again before."""
        heard = max(self.asked_at, self._stream.heard_at)
        return min(heard + self._silence, self.asked_at + LIFE_FACTOR * self._silence)
