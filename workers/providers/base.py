"""What every provider is: a prompt goes in; deltas and one `Done`, or one error, come out.

Only the protocol and its values. Errors live in `shared.errors`, vendors in a file each, timeouts in `timeouts`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from shared.messages import Message


class Finish(StrEnum):
    """Why the model stopped writing."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; `input_tokens` includes the cached ones."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The finish mark. `usage` None means the provider did not say; it never means zero."""

    finish: Finish
    usage: Usage | None
    provider_request_id: str | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to a model. `trace_id` is our request's id, sent along for the provider's log."""

    model: str
    messages: tuple[Message, ...]
    system: str | None = None
    max_output_tokens: int | None = None
    trace_id: str = ""


class Stream(ABC):
    """What a provider gives: text as it comes, then exactly one Done. Read by one task, and closed when left early.

    Beside asking for the next item, who reads may `take` what has come by itself, between two items.
    """

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
        """The items."""

    @abstractmethod
    def take(self) -> str:
        """The text that is here by now. It never waits and never raises.

        Empty when there is none, or when something else has come: the next item tells what.
        """


class Provider(Protocol):
    """A vendor (or a server that speaks a vendor's wire format) that can answer prompts."""

    @property
    def name(self) -> str:
        """Which provider this is: openai, anthropic, ollama or simulator."""

    def stream(self, prompt: Prompt) -> Stream:
        """Answer `prompt`: str deltas (never empty), then exactly one Done; or one raise of ProviderError.

        Cancelling the task that reads, or closing the stream, closes the provider's connection within
        milliseconds.
        """

    async def close(self) -> None:
        """Close the connections that are kept open between calls."""
