"""Naru's side: the registry, the adapters and the prompts of a worker, without its queue and its page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from shared.errors import ContextTooLong, ProviderError
from shared.messages import Message, RequestEnd
from shared.settings import Settings
from shared.tables import Status
from tests.patience import patient
from tests.servers.kinds import Kind
from workers.answering import prompts, windows
from workers.providers.base import Done, Prompt, Stream, Thought
from workers.providers.quirks import describe
from workers.providers.registry import Registry
from workers.providers.timeouts import WithTimeouts

ANSWER_SECONDS = 20.0
#: Enough to answer; a server that counts it against its window has room for the question.
OUTPUT_TOKENS = 64


@dataclass
class Answered:
    """Everything that one question brought."""

    text: str = ""
    deltas: int = 0
    done: Done | None = None
    error: ProviderError | None = None
    seconds: float = 0.0

    @property
    def code(self) -> str:
        """The code of the error, or `answered`."""
        return self.error.code if self.error else "answered" if self.done else "unfinished"


@dataclass
class Naru:
    """A worker's registry for one server."""

    kind: Kind
    registry: Registry
    #: The conversation so far, with the answers that failed.
    branch: list[Message] = field(default_factory=list)

    @property
    def offer(self) -> str:
        """The full name of the server's model."""
        return f"{self.kind.wire}/{self.kind.model}"

    def learnt(self) -> list[str]:
        """Return what the model's server has taught, as sentences."""
        return describe(self.registry.knowledge.about(self.offer))

    def stream(self, prompt: Prompt) -> Stream:
        """Return the stream of an answer, within a worker's time limits."""
        provider, model = self.registry.provider_for(prompt.model)
        limit = patient(ANSWER_SECONDS)
        return WithTimeouts(
            provider.stream(replace(prompt, model=model)),
            first_token_seconds=limit,
            idle_seconds=limit,
            total_seconds=2 * limit,
            thinking_seconds=limit,
        )

    async def ask(self, *messages: Message | str, **options: object) -> Answered:
        """Send these messages as they are, in one call; a text is a question."""
        return await self._collected(self.prompt(*messages, **options))

    def prompt(self, *messages: Message | str, **options: object) -> Prompt:
        """Return a prompt of these messages; a text is a question."""
        sent = tuple(Message.of_text("user", each) if isinstance(each, str) else each for each in messages)
        values = {"model": self.offer, "max_output_tokens": OUTPUT_TOKENS, **options}
        return Prompt(messages=sent, **values)  # type: ignore[arg-type] # the options are a test's own

    async def say(self, question: str, *, window: int | None = None) -> Answered:
        """Ask the next question of the conversation as a worker does: fitted, and once more after a refusal for length.

        `window` is the one that the worker believes in; None if it knows none.
        """
        self.branch.append(Message.of_text("user", question))
        found = prompts.chosen(self.branch, context_tokens=window, output_tokens=OUTPUT_TOKENS)
        prompt = self.prompt(*found.messages)
        answered = await self._collected(prompt)
        if isinstance(answered.error, ContextTooLong) and not answered.text:
            shorter = windows.shorter(self.branch, prompt, answered.error)
            if shorter is not None:
                answered = await self._collected(shorter.prompt)
                if answered.done and shorter.facts:
                    self.registry.knowledge.note(self.offer, shorter.facts)
        status = Status.SUCCEEDED if answered.done else Status.FAILED
        self.branch.append(Message.of_text("assistant", answered.text, end=RequestEnd(status=status)))
        return answered

    async def _collected(self, prompt: Prompt) -> Answered:
        answered, began = Answered(), time.monotonic()
        try:
            async with aclosing(self.stream(prompt)) as stream:
                async for item in stream:
                    if isinstance(item, Done):
                        answered.done = item
                    elif not isinstance(item, Thought):
                        answered.text += item
                        answered.deltas += 1
        except ProviderError as error:
            answered.error = error
        answered.seconds = time.monotonic() - began
        return answered


@asynccontextmanager
async def naru(kind: Kind, url: str, key: str) -> AsyncIterator[Naru]:
    """Make a worker's registry that knows this server only, as the environment of a user names it."""
    registry = Registry(Settings(**_settings(kind.wire, url, key)))
    try:
        await registry.discover()
        for _ in range(20):
            if registry.offers() or kind.name != "Ollama":
                break
            await asyncio.sleep(0.5)  # it makes its model after it listens
            await registry.discover()
        await registry.warm()
        yield Naru(kind, registry)
    finally:
        await registry.close()


def _settings(wire: str, url: str, key: str) -> dict[str, Any]:
    if wire == "ollama":
        return {"ollama_url": url}
    base = f"{url}/v1" if wire == "openai" else url
    return {"ollama_url": "off", f"{wire}_api_key": key, f"{wire}_base_url": base}


async def until(holds: Callable[[], bool], seconds: float) -> float | None:
    """Wait until the function returns true; return the seconds that it took, None after the limit."""
    began = time.monotonic()
    while time.monotonic() - began < patient(seconds):
        if await asyncio.to_thread(holds):
            return time.monotonic() - began
        await asyncio.sleep(0.02)
    return None
