"""A provider with several keys or addresses: each call takes the member with the fewest calls under way.

A member that refuses a call, fails or cannot be reached rests for a while; otherwise one that fails fast would always
have the fewest calls. After a refusal, which nobody bills, the call goes on to the next member, before anything of the
answer has come. Load and rest are this process's own. All members are one lane.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from shared.errors import (
    AuthFailed,
    BadStream,
    ConnectFailed,
    ModelNotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    StreamBroken,
    WrongAddress,
)
from workers.providers.base import Call, Done, Prompt, Provider, Stream

log = logging.getLogger(__name__)

#: How long a member rests after an error that may be its own. One that names a time is believed up to the longest.
REST_SECONDS, REFUSED_REST_SECONDS, LONGEST_REST_SECONDS = 5.0, 60.0, 120.0
_REFUSED = (AuthFailed, QuotaExhausted)
#: Refusals of one key or address: the next member may take the call.
_GIVES_WAY = (*_REFUSED, RateLimited, ConnectFailed, Overloaded)
#: Errors after which the call may have been billed, or that every member would repeat.
_ENDS = (ServerFailed, StreamBroken, BadStream, ModelNotFound, WrongAddress)


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

    def rest_seconds(self) -> float:
        """Return the seconds until a member can take a call; 0 if one can now."""
        return max(min(each.rests_until for each in self._members) - monotonic(), 0.0)


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
                            self._hear(member, stream.rest_seconds)
                        yield item
                if not has_begun:
                    self._rest(member, REST_SECONDS)
                return
            except (*_GIVES_WAY, *_ENDS) as error:
                usual = REFUSED_REST_SECONDS if isinstance(error, _REFUSED) else REST_SECONDS
                self._rest(member, error.retry_after_seconds or usual)
                if has_begun or isinstance(error, _ENDS) or self._pool.choose(tried) is None:
                    raise
            finally:
                member.load -= 1

    def _rest(self, member: _Member, seconds: float) -> None:
        member.rest(seconds)
        log.info("a member of a pool rests", extra={"provider": self._pool.name, "member": member.place})

    def _hear(self, member: _Member, seconds: float) -> None:
        """Let a member rest that has nothing left. The lane need not rest while others have."""
        if seconds:
            member.rest(seconds)
            self.rest_seconds = self._pool.rest_seconds()
