"""What every provider is: a prompt goes in; deltas and one `Done`, or one error, come out.

Only the protocol and its values. Errors live in `shared.errors`, vendors in a file each, limits in `limits`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol


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
class Turn:
    """One message of the conversation as the model sees it."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to a model. `trace_id` is our request's id, sent along for the provider's log."""

    model: str
    turns: tuple[Turn, ...]
    system: str | None = None
    max_output_tokens: int | None = None
    trace_id: str = ""


#: What a provider gives: text as it comes, then exactly one Done.
Stream = AsyncGenerator[str | Done, None]


class Provider(Protocol):
    """A vendor (or a server that speaks a vendor's wire format) that can answer prompts."""

    @property
    def name(self) -> str:
        """Which provider this is: openai, anthropic, ollama or simulator."""

    def stream(self, prompt: Prompt) -> Stream:
        """Answer `prompt`: str deltas (never empty), then exactly one Done; or one raise of ProviderError.

        Cancelling the task that reads, or closing the generator, closes the provider's connection within
        milliseconds.
        """

    async def close(self) -> None:
        """Close the connections that are kept open between calls."""
