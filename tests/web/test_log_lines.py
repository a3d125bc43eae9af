"""Tests that clients can neither fill the log nor put tracebacks into it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from shared import log_rate
from shared.log_rate import BURST, PERIOD_SECONDS, RateBound
from tests.faults.visitor import rerun
from tests.patience import patient
from tests.stack import Process, Stack, wait_until
from tests.web.clients import browser
from web.log_lines import without_foreign_traceback
from web.markdown import to_streamlit


def lines(web: Process) -> list[dict[str, Any]]:
    """Return the log's lines, parsed. A line that is not JSON raises."""
    return [json.loads(line) for line in web.log_text().splitlines()]


def forged(widget: str) -> bytes:
    """Return a message in which this widget's value has the wrong type."""
    message = BackMsg()
    state = message.rerun_script.widget_states.widgets.add()
    state.id, state.bool_value = widget, True
    return bytes(message.SerializeToString())


async def widget_of(socket: aiohttp.ClientWebSocketResponse) -> str:
    """Run the page; return the id of its composer."""
    await socket.send_bytes(rerun())
    async for message in socket:
        found = ForwardMsg.FromString(message.data)
        if found.WhichOneof("type") == "delta" and found.delta.new_element.WhichOneof("type") == "chat_input":
            return str(found.delta.new_element.chat_input.id)
    raise AssertionError("the page has no composer")


def test_forged_widget_is_logged_without_a_traceback(stack: Stack, web: Process) -> None:
    _, cookie = browser(stack)

    async def forge() -> None:
        address, headers = f"{web.url}/_stcore/stream", {"Cookie": cookie}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, protocols=("streamlit",), headers=headers) as socket,
        ):
            widget = await asyncio.wait_for(widget_of(socket), patient(30))
            for _ in range(5):
                await socket.send_bytes(forged(widget))
                await asyncio.sleep(0.5)

    def told() -> list[dict[str, Any]]:
        return [line for line in lines(web) if line["message"] == "Uncaught app execution"]

    asyncio.run(forge())
    first = wait_until(told, seconds=20, what="the error is logged")[0]
    assert first["error"] == "AttributeError"
    assert first["place"].startswith("chat.py:")
    assert "Traceback" not in web.log_text()
    assert "traceback" not in first


def test_flood_of_bad_messages_logs_few_lines(stack: Stack, web: Process) -> None:
    async def flood() -> None:
        async with aiohttp.ClientSession() as session:
            for number in range(3 * BURST):
                try:
                    async with session.ws_connect(f"{web.url}/_stcore/stream", protocols=("streamlit",)) as socket:
                        await (socket.send_str("text") if number % 2 else socket.send_bytes(b"\xff\xff\xff"))
                        await asyncio.wait_for(socket.receive(), 5)
                except (aiohttp.ClientError, TimeoutError):
                    continue

    before = len(lines(web))
    asyncio.run(flood())
    after = lines(web)[before:]
    kinds: dict[tuple[str, str], int] = {}
    for line in after:
        kind = (line["logger"], line["message"].split("-")[-1])
        kinds[kind] = kinds.get(kind, 0) + 1
    assert max(kinds.values(), default=0) <= BURST, kinds
    assert not [line for line in after if "traceback" in line]


def record(message: str = "said", *, level: int = logging.WARNING, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("some.library", level, "file.py", 1, message, (), None)
    made.__dict__.update(extra)
    return made


def test_lines_beyond_the_burst_are_counted_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bound = RateBound(lambda _: True)
    assert [bound.filter(record()) for _ in range(BURST + 7)] == [True] * BURST + [False] * 7
    assert bound.filter(record("something else")), "another kind"
    assert bound.filter(record(code="other")), "another code makes another kind"
    now += PERIOD_SECONDS
    late = record()
    assert bound.filter(late)
    assert late.__dict__["left_out"] == 7
    assert "left_out" not in record().__dict__


def test_kinds_beyond_the_maximum_count_as_one() -> None:
    bound = RateBound(lambda _: True)
    passed = sum(bound.filter(record(f"new kind {number}")) for number in range(log_rate.MOST_KINDS + 1000))
    assert passed == log_rate.MOST_KINDS + BURST


def test_traceback_of_our_own_code_is_kept() -> None:
    cases: tuple[tuple[Callable[[], object], bool], ...] = (
        (lambda: to_streamlit(None), True),  # type: ignore[arg-type]
        (lambda: json.loads("{"), False),
    )
    for failing, is_kept in cases:
        with pytest.raises((AttributeError, TypeError, ValueError)) as raised:
            failing()
        told = record()
        told.name, told.exc_info = "streamlit.error_util", (raised.type, raised.value, raised.tb)
        without_foreign_traceback(told)
        assert bool(told.exc_info) == is_kept
        assert told.__dict__.get("error") == (None if is_kept else raised.type.__name__)
