"""Tests of timeouts, and that a reader that stops closes the provider's connection at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from shared import errors
from tests.patience import patient
from tests.providers.asking import AnyProvider, Wire, ask, prompt
from workers.providers.base import Done, Stream
from workers.providers.timeouts import LIFE_FACTOR, StillWaiting, WithTimeouts
from workers.simulator import tokens_for


@pytest.mark.parametrize("fault", ["silent", "hang"])
def test_provider_times_out_without_a_first_token(wire: Wire, fault: str) -> None:
    answer = wire.ask(f"[[sim: fault={fault}]]", first_token_seconds=0.3)
    assert type(answer.error) is errors.FirstTokenTimeout
    assert 0.3 <= answer.seconds < patient(2)
    assert wire.simulator.wait_for("closed", answer.trace)["sent"] == 0


def test_provider_times_out_later_while_the_server_pings(wire: Wire) -> None:
    answer = wire.ask("[[sim: fault=ping]]", first_token_seconds=0.3)
    assert type(answer.error) is StillWaiting
    assert answer.seconds >= 0.3 * LIFE_FACTOR
    assert wire.simulator.wait_for("closed", answer.trace)["sent"] == 0


@pytest.mark.parametrize("fault", ["hang", "ping"])
def test_provider_times_out_on_silence_within_an_answer(wire: Wire, fault: str) -> None:
    message = f"[[sim: fault={fault} at=5]]"
    answer = wire.ask(message, idle_seconds=0.3)
    assert type(answer.error) is errors.IdleTimeout
    assert answer.text == "".join(tokens_for(message)[:5])
    assert 0.3 <= answer.seconds < patient(2)
    assert wire.simulator.wait_for("closed", answer.trace)["sent"] == 5


def test_provider_times_out_on_the_total_duration(wire: Wire) -> None:
    answer = wire.ask("[[sim: tokens=1000 pace=20]]", total_seconds=0.6)
    assert type(answer.error) is errors.TotalTimeout
    assert 0.6 <= answer.seconds < patient(2)
    wire.simulator.wait_for("closed", answer.trace)


def test_slow_answer_within_its_limits_completes(wire: Wire) -> None:
    limit = patient(0.4)
    words = f"[[sim: tokens={round(15 * limit)} pace=10]]"
    answer = wire.ask(words, first_token_seconds=limit, idle_seconds=limit, total_seconds=50 * limit)
    assert answer.done is not None
    assert answer.seconds > limit


@pytest.mark.parametrize("message", ["[[sim: fault=silent]]", "[[sim: first=30]]", "[[sim: tokens=500 pace=20]]"])
def test_cancelling_the_task_closes_the_connection(wire: Wire, message: str) -> None:
    asked = prompt(message)

    async def cancel(provider: AnyProvider) -> None:
        async def read() -> None:
            stream = provider.stream(asked)
            async for _ in WithTimeouts(stream, first_token_seconds=60, idle_seconds=60, total_seconds=60):
                pass

        task = asyncio.create_task(read())
        await asyncio.to_thread(wire.simulator.wait_for, "first" if "tokens" in message else "start", asked.trace_id)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Check before the provider closes, which would close its connections too.
        await asyncio.to_thread(wire.simulator.wait_for, "closed", asked.trace_id)

    wire.run(cancel)


def test_leaving_the_stream_closes_the_connection(wire: Wire) -> None:
    asked = prompt("[[sim: tokens=500 pace=50]]")

    async def leave(provider: AnyProvider) -> dict[str, Any]:
        stream = WithTimeouts(provider.stream(asked), first_token_seconds=9, idle_seconds=9, total_seconds=9)
        async with aclosing(stream):
            async for _ in stream:
                break
        return await asyncio.to_thread(wire.simulator.wait_for, "closed", asked.trace_id)

    assert wire.run(leave)["sent"] < 500


def test_cancelled_stream_leaves_the_others_alone(wire: Wire) -> None:
    async def some_cancelled(provider: AnyProvider) -> list[bool]:
        tasks = [asyncio.create_task(ask(provider, f"[[sim: tokens=40 pace=100]] {n}")) for n in range(20)]
        await asyncio.sleep(0.15)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return [isinstance(each, asyncio.CancelledError) for each in results]

    assert wire.run(some_cancelled) == [True, False] * 10


class Counting(Stream):
    """A stream of `words` words, with `wait_seconds` before each."""

    def __init__(self, words: int, *, wait_seconds: float = 0.0) -> None:
        super().__init__()
        self._words, self._wait_seconds = words, wait_seconds

    async def _run(self) -> AsyncGenerator[str | Done, None]:
        for number in range(self._words):
            if self._wait_seconds:
                await asyncio.sleep(self._wait_seconds)
            yield f"{number} "

    def take(self) -> str:
        return "taken "


def test_slow_reader_causes_no_idle_timeout() -> None:
    limit = patient(0.3)

    async def read_slowly() -> int:
        seen = 0
        stream = Counting(3, wait_seconds=0.05)
        async for _ in WithTimeouts(stream, first_token_seconds=limit, idle_seconds=limit, total_seconds=20 * limit):
            await asyncio.sleep(limit + 0.1)
            seen += 1
        return seen

    assert asyncio.run(read_slowly()) == 3


def test_busy_provider_still_meets_the_total_timeout() -> None:
    async def read() -> None:
        async for _ in WithTimeouts(Counting(10**9), first_token_seconds=9, idle_seconds=9, total_seconds=0.2):
            pass

    with pytest.raises(errors.TotalTimeout):
        asyncio.run(read())


def test_timeout_does_not_swallow_a_concurrent_stop() -> None:
    async def both() -> None:
        async def read() -> None:
            stream = Counting(2, wait_seconds=5)
            async for _ in WithTimeouts(stream, first_token_seconds=0.1, idle_seconds=9, total_seconds=9):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.1, task.cancel)
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() or isinstance(task.exception(), errors.FirstTokenTimeout)

    asyncio.run(both())
