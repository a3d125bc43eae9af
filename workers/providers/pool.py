"""A provider with several keys or addresses: each call takes the member with the fewest calls under way.

A member that refuses its key, its quota or its rate, or cannot be reached, rests for a while; before anything of the
answer has come, the call goes on to the next member. Load and rest are this process's own. All members are one lane.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from shared.errors import AuthFailed, ConnectFailed, ProviderError, QuotaExhausted, RateLimited
from workers.providers.base import Call, Done, Prompt, Provider, Stream
from workers.providers.headroom import Headroom

log = logging.getLogger(__name__)

#: Errors of one key or address, and how long it rests. A provider that names a time is believed up to the longest.
_RESTS: dict[type[ProviderError], float] = {
    RateLimited: 5.0,
    ConnectFailed: 5.0,
    AuthFailed: 60.0,
    QuotaExhausted: 60.0,
}
_OF_MEMBER = tuple(_RESTS)
LONGEST_REST_SECONDS = 120.0


class Warmable(Provider, Protocol):
    """A provider whose client can be made in advance."""

    async def warm(self) -> None:
        """Make the client."""


@dataclass(slots=True, eq=False)
class _Member:
    provider: Warmable
    place: int
    load: int = 0
    #: No call while another member can take it, on the monotonic clock.
    rests_until: float = 0.0

    def rest(self, seconds: float) -> None:
        self.rests_until = max(self.rests_until, monotonic() + min(seconds, LONGEST_REST_SECONDS))


class Pool:
    """Several providers that count as one. Used in the event loop only."""

    def __init__(self, providers: Sequence[Warmable]) -> None:
        self._members = [_Member(each, place) for place, each in enumerate(providers)]
        self.name = providers[0].name

    @property
    def providers(self) -> list[Warmable]:
        """Its members, in the order of their keys or addresses."""
        return [each.provider for each in self._members]

    def stream(self, prompt: Prompt, call: Call | None = None) -> Stream:  # noqa: ARG002 - see `cancel`
        """See `base.Provider.stream`."""
        return _PooledStream(self, prompt)

    async def cancel(self, call_id: str) -> None:
        """Do nothing: providers.toml admits no pool of an API whose calls go on."""

    async def warm(self) -> None:
        """Make the clients of all members in advance."""
        for each in self._members:
            await each.provider.warm()

    async def close(self) -> None:
        """See `base.Provider.close`."""
        for each in self._members:
            await each.provider.close()

    def choose(self, tried: Sequence[_Member]) -> _Member | None:
        """Return the least loaded member that was not tried; None if all others were, or rest.

        The first choice is never None: if all rest, it is the one whose rest ends first.
        """
        now = monotonic()
        awake = [each for each in self._members if each not in tried and each.rests_until <= now]
        if awake:
            return min(awake, key=lambda each: each.load)
        return None if tried else min(self._members, key=lambda each: each.rests_until)

    def all_rest(self) -> bool:
        """Whether no member can take a call now."""
        now = monotonic()
        return all(each.rests_until > now for each in self._members)


class _PooledStream(Stream):
    """One call, and the members that it tries."""

    def __init__(self, pool: Pool, prompt: Prompt) -> None:
        super().__init__()
        self._pool, self._prompt = pool, prompt
        self._stream: Stream | None = None

    @property
    def heard_at(self) -> float:  # type: ignore[override] # read only: the member's stream sets it
        """See `base.Stream.heard_at`."""
        return self._stream.heard_at if self._stream is not None else 0.0

    def take(self) -> str:
        """See `base.Stream.take`."""
        return self._stream.take() if self._stream is not None else ""

    async def _run(self) -> AsyncGenerator[str | Done, None]:
        tried: list[_Member] = []
        while (member := self._pool.choose(tried)) is not None:
            tried.append(member)
            member.load += 1
            has_begun = False
            stream = self._stream = member.provider.stream(self._prompt)
            try:
                async with aclosing(stream):
                    async for item in stream:
                        if not has_begun:
                            has_begun = True
                            self._hear(member, stream.headroom)
                        yield item
                return
            except _OF_MEMBER as error:
                member.rest(error.retry_after_seconds or _RESTS[type(error)])
                log.info("a member of a pool rests", extra={"provider": self._pool.name, "member": member.place})
                if has_begun or self._pool.choose(tried) is None:
                    raise
            finally:
                member.load -= 1

    def _hear(self, member: _Member, headroom: Headroom | None) -> None:
        """Let a member rest that has nothing left. The lane need not rest while others have."""
        if headroom is None:
            return
        pause = max(headroom.pauses(1))
        if pause:
            member.rest(pause)
        if self._pool.all_rest():
            self.headroom = headroom
