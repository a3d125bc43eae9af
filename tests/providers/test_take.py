"""Tests of `Stream.take`: it returns received text without waiting, and text is neither lost nor repeated."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from shared import errors
from tests.providers.asking import Answer, AnyProvider, Wire, prompt
from workers.providers.base import Done, Stream
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.sdk.decoding import Decoder
from workers.providers.timeouts import WithTimeouts
from workers.simulator import text_for, tokens_for


def timed(stream: Stream, *, total_seconds: float = 20.0) -> WithTimeouts:
    return WithTimeouts(stream, first_token_seconds=10, idle_seconds=10, total_seconds=total_seconds)


async def read(stream: Stream, *, every_seconds: float) -> tuple[Answer, int]:
    """Read a stream as a worker does, taking text after each item; return the answer and the number of takes."""
    answer, taken = Answer(), 0
    try:
        async with aclosing(stream):
            async for item in stream:
                if isinstance(item, Done):
                    answer.done = item
                    continue
                answer.deltas.append(item)
                await asyncio.sleep(every_seconds)
                while text := stream.take():
                    answer.deltas.append(text)
                    taken += 1
                    await asyncio.sleep(every_seconds)
    except errors.ProviderError as error:
        answer.error = error
    return answer, taken


@pytest.mark.parametrize("message", ["[[sim: tokens=60 pace=100]]", "[[sim: tokens=60 pace=100]] 한국어로 😀"])
def test_stream_takes_most_items_in_bulk_and_loses_none(wire: Wire, message: str) -> None:
    async def asked(provider: AnyProvider) -> tuple[Answer, int]:
        return await read(timed(provider.stream(prompt(message))), every_seconds=0.03)

    answer, taken = wire.run(asked)
    assert answer.text == text_for(message)
    assert answer.done is not None
    assert answer.done.usage is not None
    # If this fails, `body` does not know the layers under the SDK, and each word costs half as much again.
    # Only words that came one by one are counted: a stall of the machine makes takes fewer and longer.
    assert taken > 0
    assert len(answer.deltas) - taken <= 20, "of 60 words"


@pytest.mark.parametrize("fault", ["error", "cut", "eof", "end", "malformed"])
def test_stream_yields_text_before_a_fault(wire: Wire, fault: str) -> None:
    message = f"[[sim: tokens=40 pace=40 fault={fault} at=20]]"

    async def asked(provider: AnyProvider) -> tuple[Answer, int]:
        return await read(timed(provider.stream(prompt(message))), every_seconds=0.05)

    answer, taken = wire.run(asked)
    # A cut connection loses text that was still in transit.
    sent = tokens_for(message)[:20]
    assert "".join(sent).startswith(answer.text)
    assert len(answer.text) >= len("".join(sent[:15]))
    assert taken > 0
    assert isinstance(answer.error, errors.ProviderError)
    assert answer.done is None


def test_take_is_empty_before_the_first_and_after_the_last_item(wire: Wire) -> None:
    async def asked(provider: AnyProvider) -> list[str]:
        stream = timed(provider.stream(prompt("[[sim: tokens=4 pace=0]]")))
        before = stream.take()
        async with aclosing(stream):
            async for _ in stream:
                pass
        return [before, stream.take()]

    assert wire.run(asked) == ["", ""]


def test_total_timeout_ends_taking(wire: Wire) -> None:
    async def asked(provider: AnyProvider) -> tuple[Answer, int]:
        stream = timed(provider.stream(prompt("[[sim: tokens=1000 pace=100]]")), total_seconds=1.0)
        return await read(stream, every_seconds=0.03)

    answer, taken = wire.run(asked)
    assert type(answer.error) is errors.TotalTimeout
    assert taken > 0


def test_reply_larger_than_the_buffer_arrives_complete(wire: Wire) -> None:
    # Three megabytes at once: the connection pauses many times and resumes when its buffer is empty.
    message = "[[sim: tokens=3000 size=1000 pace=0]]"

    async def asked(provider: AnyProvider) -> tuple[Answer, int]:
        return await read(timed(provider.stream(prompt(message))), every_seconds=0.002)

    answer, _ = wire.run(asked)
    assert answer.text == text_for(message)
    assert answer.done is not None


def test_provider_answers_again_after_a_reply_was_taken(wire: Wire) -> None:
    async def twice(provider: AnyProvider) -> list[str]:
        return [
            (await read(timed(provider.stream(prompt("[[sim: tokens=9 pace=50]]"))), every_seconds=0.05))[0].text
            for _ in range(3)
        ]

    assert wire.run(twice) == [text_for("[[sim: tokens=9 pace=50]]")] * 3


def test_provider_streams_a_compressed_reply() -> None:
    words = ["zipped ", "words ", "come ", "too"]

    async def asked() -> tuple[Answer, int]:
        async with _zipping(words) as url:
            provider = OpenAIProvider(base_url=url)
            try:
                return await read(timed(provider.stream(prompt("any"))), every_seconds=0.01)
            finally:
                await provider.close()

    answer, taken = asyncio.run(asked())
    assert (answer.text, taken) == ("".join(words), 0)
    assert answer.done is not None


@asynccontextmanager
async def _zipping(words: list[str]) -> AsyncIterator[str]:
    """Run a server that compresses its replies; yield its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
        )
        events: list[dict[str, object]] = [{"choices": [{"delta": {"content": word}}]} for word in words]
        events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        writer.write(gzip.compress(b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def test_decoder_joins_the_halves_of_an_emoji() -> None:
    decoder = Decoder(OpenAIProvider().reader())
    halves = [r'{"choices":[{"delta":{"content":"a\ud83d"}}]}', r'{"choices":[{"delta":{"content":"\ude00b"}}]}']
    assert [decoder.decode(f"data: {half}\n\n".encode()) for half in halves] == ["a", "\U0001f600b"]
