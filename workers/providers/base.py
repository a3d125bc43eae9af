"""The protocol of a provider: a prompt goes in; deltas and one `Done`, or one error, come out.

A delta is text of the answer or, as a `Thought`, of the model's reasoning.

The errors are in `shared/errors.py`, the adapters in a folder per vendor, the timeouts in `timeouts.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from shared.live.thinking import Thought
from shared.messages import Message

__all__ = ["Done", "Finish", "Prompt", "Provider", "Stream", "Thought", "Usage"]


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
    #: The messages of the conversation before these that did not fit. Not sent.
    left_out: int = 0


class Stream(ABC):
    """The reply of a provider: deltas as they arrive, then exactly one Done.

    One task reads it, and closes it if it stops reading early. Between two items the task may also `take` the text that
    has arrived by then.
    """

    #: When the provider last sent something other than text, on the monotonic clock; 0 before.
    heard_at = 0.0

    def __init__(self) -> None:
        self._items = self._run()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[str | Done]:
        return self._items.__anext__()

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
        """The name under which it reports its errors: openai, anthropic, ollama or simulator."""

    def stream(self, prompt: Prompt) -> Stream:
        """Answer `prompt` with non-empty deltas and exactly one Done, or raise one ProviderError.

        Cancelling the reading task or closing the stream closes the provider's connection within milliseconds.
        """

    async def close(self) -> None:
        """Close the connections that were kept open between calls."""
