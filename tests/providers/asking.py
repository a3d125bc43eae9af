"""Helpers that ask a provider and read the simulator's log."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from shared.errors import ProviderError
from shared.messages import Message
from tests.patience import patient
from workers.providers.anthropic.adapter import AnthropicProvider
from workers.providers.base import Done, Prompt, Provider, Thought
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.timeouts import WithTimeouts

#: A planted key; it must appear in nothing that is shown or logged.
KEY = "sk-planted-7f3b1c9e"
T = TypeVar("T")
AnyProvider = OpenAIProvider | AnthropicProvider


@dataclass(frozen=True)
class Simulator:
    """The running simulator."""

    url: str
    log: Path

    def events(self, trace: str) -> list[dict[str, Any]]:
        """Return the log's events of one trace id, in order."""
        lines = [json.loads(line) for line in self.log.read_text("utf-8").splitlines() if line.endswith("}")]
        return [line for line in lines if line["trace"] == trace]

    def wait_for(self, event: str, trace: str, *, seconds: float = 3.0) -> dict[str, Any]:
        """Wait for the first such event and return it."""
        end = time.monotonic() + patient(seconds)
        while time.monotonic() < end:
            if found := [line for line in self.events(trace) if line["event"] == event]:
                return found[0]
            time.sleep(0.01)
        raise AssertionError(f"no {event!r} in {self.events(trace)}")


@dataclass
class Answer:
    """Everything that one call returned."""

    deltas: list[str] = field(default_factory=list)
    done: Done | None = None
    error: ProviderError | None = None
    trace: str = ""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return "".join(each for each in self.deltas if not isinstance(each, Thought))

    @property
    def reasoning(self) -> str:
        return "".join(each for each in self.deltas if isinstance(each, Thought))


@dataclass(frozen=True)
class Wire:
    """One wire format of the simulator, and the adapter for it."""

    name: str
    simulator: Simulator

    def provider(self, *, url: str | None = None) -> AnyProvider:
        base = url or self.simulator.url
        if self.name == "anthropic":
            return AnthropicProvider(api_key=KEY, base_url=base)
        return OpenAIProvider(api_key=KEY, base_url=f"{base}/v1")

    def ask(self, message: str, **options: Any) -> Answer:
        """Ask once, in a new event loop."""
        return self.run(lambda provider: ask(provider, message, **options))

    def run(self, act: Callable[[AnyProvider], Awaitable[T]], *, url: str | None = None) -> T:
        """Run `act` with a provider, then close the provider."""

        async def all_of_it() -> T:
            provider = self.provider(url=url)
            await provider.warm()  # the timeouts must not include the SDK's import
            try:
                return await act(provider)
            finally:
                await provider.close()

        return asyncio.run(all_of_it())


def prompt(message: str, **options: Any) -> Prompt:
    """Return a prompt of one message, with a new trace id."""
    return Prompt(
        **{"model": "any", "messages": (Message.of_text("user", message),), "trace_id": uuid4().hex, **options}
    )


async def ask(
    provider: Provider,
    message: str,
    *,
    first_token_seconds: float = patient(20),
    idle_seconds: float = 20.0,
    total_seconds: float = 40.0,
    thinking_seconds: float = math.inf,
    **options: Any,
) -> Answer:
    """Ask and collect the answer, including a ProviderError; raise any other exception."""
    asked = prompt(message, **options)
    answer, began = Answer(trace=asked.trace_id), time.monotonic()
    stream = WithTimeouts(
        provider.stream(asked),
        first_token_seconds=first_token_seconds,
        idle_seconds=idle_seconds,
        total_seconds=total_seconds,
        thinking_seconds=thinking_seconds,
    )
    try:
        async with aclosing(stream):
            async for item in stream:
                assert answer.done is None, "something came after Done"
                if isinstance(item, Done):
                    answer.done = item
                else:
                    assert item, "an empty delta"
                    answer.deltas.append(item)
    except ProviderError as error:
        answer.error = error
    answer.seconds = time.monotonic() - began
    return answer
