"""Helpers that make and read responses of the server in `responses_server`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from shared import errors
from tests.patience import patient
from tests.providers.asking import Answer, ask, prompt
from tests.providers.responses_server import WORDS, Responses, ResponsesServer, Script
from workers.providers.base import Call, Done
from workers.providers.openai.responses import ResponsesProvider
from workers.providers.timeouts import WithTimeouts

T = TypeVar("T")
TEXT = "".join(WORDS)
#: Long enough to interrupt it.
LONG = Script(text=[f"word{number} " for number in range(40)], pace=0.03)
LONG_TEXT = "".join(LONG.text)


def run(server: ResponsesServer, act: Callable[[ResponsesProvider], Awaitable[T]]) -> T:
    async def all_of_it() -> T:
        provider = ResponsesProvider(api_key="sk-test", base_url=server.url)
        await provider.warm()
        try:
            return await act(provider)
        finally:
            await provider.close()

    return asyncio.run(all_of_it())


def ask_once(memory: Responses, message: str = "Hi", **options: Any) -> Answer:
    with ResponsesServer(memory) as server:
        return run(server, lambda provider: ask(provider, message, **options))


async def read(
    provider: ResponsesProvider,
    call: Call,
    *,
    until: str = "",
    first_token_seconds: float = 20.0,
    answer: Answer | None = None,
) -> Answer:
    """Read the answer of `call`, or make one, into `answer`; stop reading once the text contains `until`."""
    answer = answer or Answer()
    stream = WithTimeouts(
        provider.stream(prompt("Hi"), call),
        first_token_seconds=patient(first_token_seconds),
        idle_seconds=patient(20),
        total_seconds=patient(40),
        thinking_seconds=math.inf,
    )
    try:
        async with aclosing(stream):
            async for item in stream:
                if isinstance(item, Done):
                    answer.done = item
                else:
                    answer.deltas.append(item)
                if until and until in answer.text:
                    break
    except errors.ProviderError as error:
        answer.error = error
    return answer


@asynccontextmanager
async def reading(provider: ResponsesProvider, call: Call) -> AsyncIterator[asyncio.Task[Answer]]:
    """Read the whole answer beside the block, which begins once the call has an id."""
    begun = asyncio.Event()
    call.on_begin = lambda _: begun.set()
    task = asyncio.create_task(read(provider, call))
    await asyncio.wait_for(begun.wait(), patient(10))
    yield task
    await task
