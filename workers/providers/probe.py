"""Asks a model one tiny question and says what its server shows: the shape of its reply, and its quirks.

For `./naru doctor --providers`. The question has everything that servers disagree about: a system text, two questions
in a row, a limit and a temperature. A refused call is not billed, so a model costs one answer of a few tokens.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from shared.errors import BadRequest, FirstTokenTimeout, ProviderError
from shared.messages import Message
from workers.providers.base import Prompt
from workers.providers.mapping import mapped
from workers.providers.quirks import describe
from workers.providers.registry import Registry
from workers.providers.sdk.provider import SdkProvider

SECONDS = 30.0
OUTPUT_TOKENS = 32
_MOST_BYTES = 1_000_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: Fields of a delta that carry thinking.
_THINKING = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True, slots=True)
class Shown:
    """The shape of a server's reply and its quirks, as phrases. `is_error` if it was no answer."""

    shape: tuple[str, ...]
    quirks: tuple[str, ...]
    is_error: bool


async def probe(registry: Registry, name: str, *, place: int = 1) -> Shown:
    """Ask the model `name` (`provider/model`) once. Raises a ProviderError; takes at most `SECONDS`.

    `place` is that of the member of a pool, from 1.
    """
    provider, model = registry.members_for(name)[place - 1], name.partition("/")[2]
    if not isinstance(provider, SdkProvider):
        raise BadRequest(f"{name}: this provider has no reply to look at")
    questions = tuple(Message.of_text("user", text) for text in ("Hello.", "Is water wet? Answer with one word."))
    prompt = Prompt(model, questions, "Answer with one word.", max_output_tokens=OUTPUT_TOKENS, temperature=0.5)
    failure: ProviderError
    try:
        async with asyncio.timeout(SECONDS):
            content_type, body = await _reply(provider, prompt)
    except TimeoutError:
        failure = FirstTokenTimeout(f"{provider.name}: no complete answer within {SECONDS:.0f} s")
    except Exception as error:  # noqa: BLE001 - every foreign error becomes one of ours here
        failure = mapped(error, name=provider.name, started=False)
    else:
        shape = tuple(shapes_of(content_type, body))
        return Shown(shape, tuple(describe(registry.knowledge.about(name))), is_error=_ERROR in shape)
    # Raised outside the `except`, because the foreign error may quote the prompt or the key.
    raise failure


async def _reply(provider: SdkProvider[Any], prompt: Prompt) -> tuple[str, bytes]:
    """Return the type and the bytes of the reply, up to a limit."""
    response = await provider.call(prompt)
    body = b""
    try:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _MOST_BYTES or b"data: [DONE]" in body or b'"message_stop"' in body:
                break
    finally:
        with suppress(Exception):
            await response.aclose()
    return response.headers.get("content-type", ""), body


_ERROR = "an error with the status of a success"


def shapes_of(content_type: str, body: bytes) -> Iterator[str]:
    """Yield phrases about the shape of a complete reply."""
    if body.startswith(_BYTE_ORDER_MARK):
        yield "a byte order mark first"
    text = body.removeprefix(_BYTE_ORDER_MARK).decode(errors="replace")
    if "event-stream" not in content_type and not text.lstrip().startswith(("data:", "event:", ":")):
        events = [_parsed(text)]
        is_answer = bool(events[0].get("choices") or events[0].get("content"))
        yield "one JSON object, no stream" if is_answer else _ERROR if events[0].get("error") else "no answer"
    else:
        events = [_parsed(line[5:]) for line in text.splitlines() if line.startswith("data:") and "[DONE]" not in line]
        yield _ERROR if any(event.get("error") for event in events) else "streams"
    yield "reports usage" if any(_has_usage(event) for event in events) else "reports no usage"
    yield "marks the finish" if any(_has_finish(event) for event in events) else "no finish mark"
    yield from _thinking(events)
    if any(isinstance(each.get("content"), list) for event in events for each in _deltas(event)):
        yield "text as a list of parts"


def _parsed(text: str) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _deltas(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the deltas of an event in any wire format, and the message of one that is complete."""
    for choice in _objects(event.get("choices")):
        yield _object(choice.get("delta") or choice.get("message"))
    yield _object(event.get("delta"))


def _has_usage(event: dict[str, Any]) -> bool:
    inner = _object(event.get("message") or event.get("response"))
    return bool(event.get("usage") or inner.get("usage"))


def _has_finish(event: dict[str, Any]) -> bool:
    reasons = [choice.get("finish_reason") for choice in _objects(event.get("choices"))]
    is_end = event.get("type") in ("response.completed", "response.incomplete")
    return is_end or any(reasons) or bool(event.get("stop_reason") or _object(event.get("delta")).get("stop_reason"))


def _thinking(events: list[dict[str, Any]]) -> Iterator[str]:
    if any(str(event.get("type")).startswith("response.reasoning") for event in events):
        yield "thinking in summaries"
    deltas = [each for event in events for each in _deltas(event)]
    for name in _THINKING:
        if any(each.get(name) for each in deltas):
            yield f"thinking in `{name}`"
    contents = [each.get("content") for each in deltas]
    if any(part.get("type") == "thinking" for content in contents for part in _objects(content)):
        yield "thinking in parts of the content"
    if "<think>" in "".join(content for content in contents if isinstance(content, str)):
        yield "thinking in <think> tags"
