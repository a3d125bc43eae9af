"""The protocol of a provider: a prompt goes in; deltas and one `Done`, or one error, come out.

A delta is text of the answer or, as a `Thought`, of the model's reasoning.

The errors are in `shared/errors.py`, the adapters in a folder per vendor, the timeouts in `timeouts.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from shared.live.thinking import Thought
from shared.messages import Message

__all__ = ["Call", "Done", "Finish", "Prompt", "Provider", "Stream", "Thought", "Usage"]


class Finish(StrEnum):
    """The reason why the model stopped writing."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts that the provider reports.

    `input_tokens` includes the cached ones, and `output_tokens` those of the reasoning.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


def counted(usage: Usage | None) -> Usage | None:
    """Return the counts of an answer; None if all are 0, as those of servers are that do not count."""
    return usage if usage is not None and (usage.input_tokens or usage.output_tokens) else None


@dataclass(frozen=True, slots=True)
class Done:
    """The finish mark. `usage` is None when the provider reported none."""

    finish: Finish
    usage: Usage | None
    provider_request_id: str | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input of a model. `trace_id` is the id of Naru's request, for the provider's log.

    The fields that are None are not sent. Those that a server refuses are left out.
    """

    model: str
    messages: tuple[Message, ...]
    system: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    #: How much the model thinks before it writes, in the vendor's own word: low, medium, high.
    effort: str | None = None
    trace_id: str = ""
    #: The model's window in tokens, as far as it is known. Not sent.
    window: int | None = None
    #: The messages of the conversation before these that did not fit. Not sent.
    left_out: int = 0


class Call:
    """A call that goes on at its provider when nobody reads it, so that another process can take it up by its id.

    A stream of such an API notes the id as soon as it knows it, and the end. Other streams leave it alone.
    """

    def __init__(self, call_id: str | None = None) -> None:
        """`call_id` is that of an earlier process's call to take up."""
        #: None before the call, and once it has ended: nothing can be taken up or cancelled then.
        self.id = call_id
        #: Called in the event loop with the id of a new call.
        self.on_begin: Callable[[str], None] = lambda _: None

    def begin(self, call_id: str) -> None:
        """Note that the provider runs this call."""
        if call_id != self.id:
            self.id = call_id
            self.on_begin(call_id)

    def end(self) -> None:
        """Note that the call has ended, or that the provider does not know it any more."""
        self.id = None


class Stream(ABC):
    """The reply of a provider: deltas as they arrive, then exactly one Done.

    One task reads it, and closes it if it stops reading early. Between two items the task may also `take` the text that
    has arrived by then.
    """

    #: When the provider last sent something other than text, on the monotonic clock; 0 before.
    heard_at = 0.0
    #: For how many seconds nothing is left of the provider's limits, as it said when the reply began.
    rest_seconds: float = 0.0

    def __init__(self) -> None:
        self._items = self._run()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[str | Done]:
        return self._items.__anext__()

    @property
    def goes_on(self) -> bool:
        """Whether the call goes on without this stream, so that another one can read it."""
        return False

    async def aclose(self) -> None:
        """Close the provider's connection, if it is open."""
        await self._items.aclose()

    @abstractmethod
    def _run(self) -> AsyncGenerator[str | Done, None]:
        """Generate the items."""

    @abstractmethod
    def take(self) -> str:
        """Return the text or the Thought that has arrived, without waiting. Never raises.

        Text that follows a Thought is returned by the next call. Empty if there is none, or after an end or an error,
        which reading the next item reports.
        """


class Provider(Protocol):
    """A vendor, or a server that speaks a vendor's wire format."""

    @property
    def name(self) -> str:
        """The name under which it reports its errors: a name in providers.toml, a vendor's or simulator."""

    def stream(self, prompt: Prompt, call: Call | None = None) -> Stream:
        """Answer `prompt` with non-empty deltas and exactly one Done, or raise one ProviderError.

        With the id of a `call`, the stream has the whole answer of that call, from its beginning. If the provider does
        not know that call any more, it makes a new one.

        Cancelling the reading task or closing the stream closes the provider's connection within milliseconds. A call
        that can be taken up again goes on.
        """

    async def cancel(self, call_id: str) -> None:
        """End a call that goes on without its stream, so that nothing more is billed. Raises ProviderError.

        Does nothing if the call has ended, and for providers without such calls.
        """

    async def close(self) -> None:
        """Close the connections that were kept open between calls."""
