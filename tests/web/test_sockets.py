"""Tests of the limits on the page's WebSocket, with hand-made frames and a real web process."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.attacks import wire
from tests.attacks.person import Page
from tests.attacks.run import closed_counts
from tests.attacks.wire import Refused, Socket, frame, kinds, rerun, unfinished_frame
from tests.patience import patient, slowness
from tests.stack import Process, Stack
from tests.web.clients import browser

FRAME_SECONDS = 1
PATIENCE_SECONDS = patient(30)


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: each test is a different browser."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start a web process with few sockets per browser and short waits."""
    return stack.start_web(sockets_per_owner=3, sockets_without_identity=2, socket_frame_seconds=FRAME_SECONDS)


@pytest.fixture
def cookie(stack: Stack) -> str:
    """Return a new browser's cookie."""
    return browser(stack)[1]


async def code_after(url: str, cookie: str, *frames: bytes) -> int:
    """Send these frames on a new socket; return its close code."""
    socket = await Socket.open(url, cookie=cookie)
    socket.send(*frames)
    try:
        return await asyncio.wait_for(socket.code(), PATIENCE_SECONDS)
    finally:
        socket.abort()


@pytest.mark.parametrize(
    ("reason", "code", "frames"),
    [
        ("flood", 1008, [frame(rerun())] * 200),
        ("flood", 1008, [frame(b"", opcode=wire.PING)] * 200),
        ("flood", 1008, [frame(b"", is_final=False), *[frame(b"", opcode=0, is_final=False)] * 200]),
        ("size", 1009, [frame(b"x" * 300_000)]),
        ("unfinished", 1008, [unfinished_frame(1000, sent=10)]),
        ("unfinished", 1008, [frame(b"", is_final=False)]),
        ("protocol", 1008, [frame(b"\xff\xff\xff")]),
        ("protocol", 1008, [frame(b"text", opcode=wire.TEXT)]),
        ("protocol", 1008, [frame(rerun(widgets=1000))]),
        ("protocol", 1008, [frame(rerun(widgets=40, widget_bytes=1000))]),
        ("protocol", 1008, [frame(rerun(widgets=40, widget_bytes=1000, question_bytes=1000))]),
    ],
)
def test_hostile_socket_is_closed_and_counted(
    web: Process, cookie: str, reason: str, code: int, frames: list[bytes]
) -> None:
    before = closed_counts(web).get(f"sockets closed: {reason}", 0)
    assert asyncio.run(code_after(web.url, cookie, *frames)) == code
    assert closed_counts(web)[f"sockets closed: {reason}"] == before + 1


def test_burst_of_clicks_closes_no_socket(web: Process, cookie: str) -> None:
    async def click() -> None:
        page = await Page.open(web.url, cookie)
        page.socket.send(*[frame(rerun(query=page.query))] * 35)
        await asyncio.wait_for(page.click(), PATIENCE_SECONDS)
        page.socket.abort()

    before = closed_counts(web)
    asyncio.run(click())
    assert closed_counts(web) == before


def test_longest_question_passes(web: Process, stack: Stack, cookie: str) -> None:
    async def ask() -> None:
        page = await Page.open(web.url, cookie)
        await asyncio.wait_for(page.ask("\N{GRINNING FACE}" * stack.settings.max_question_characters), PATIENCE_SECONDS)
        await asyncio.wait_for(page.click(), PATIENCE_SECONDS)
        page.socket.abort()

    asyncio.run(ask())
    assert "submitted" in web.log_text()


def test_foreign_messages_are_discarded(web: Process, cookie: str) -> None:
    async def send() -> None:
        page = await Page.open(web.url, cookie)
        page.socket.send(*(frame(message) for name, message in kinds().items() if name != "rerun_script"))
        await asyncio.wait_for(page.click(), PATIENCE_SECONDS)
        page.socket.abort()

    asyncio.run(send())
    assert "Client tried to shut down runtime" not in web.log_text()


def test_page_without_cookie_has_no_composer(web: Process) -> None:
    async def look() -> None:
        page = await asyncio.wait_for(Page.open(web.url, ""), PATIENCE_SECONDS)
        assert page.composer == ""
        page.socket.abort()

    asyncio.run(look())


def test_sockets_per_browser_are_limited(web: Process, cookie: str) -> None:
    async def crowd() -> None:
        sockets = [await Socket.open(web.url, cookie=cookie) for _ in range(3)]
        with pytest.raises(Refused) as refused:
            await Socket.open(web.url, cookie=cookie)
        assert refused.value.status == 429
        sockets.pop().abort()
        sockets.append(await reopened(web.url, cookie))
        for socket in sockets:
            socket.abort()

    asyncio.run(crowd())


async def reopened(url: str, cookie: str) -> Socket:
    """Open a socket as soon as there is room for it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await Socket.open(url, cookie=cookie)
            except Refused:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("is_known", [True, False])
def test_session_is_kept_for_an_owner_only(web: Process, cookie: str, is_known: bool) -> None:
    async def come_back() -> tuple[str, str]:
        name = cookie if is_known else ""
        page = await asyncio.wait_for(Page.open(web.url, name), PATIENCE_SECONDS)
        page.socket.abort()
        await asyncio.sleep(0.5)
        again = Page(await Socket.open(web.url, cookie=name, session=page.session))
        await asyncio.wait_for(again.click(), PATIENCE_SECONDS)
        again.socket.abort()
        return page.session, again.session

    before, after = asyncio.run(come_back())
    assert (before == after) is is_known


def test_openings_per_browser_are_limited(stack: Stack, cookie: str) -> None:
    web = stack.start_web(socket_openings_per_minute=3)

    async def reload() -> None:
        for _ in range(3):
            (await Socket.open(web.url, cookie=cookie)).abort()
        with pytest.raises(Refused):
            await Socket.open(web.url, cookie=cookie)
        (await Socket.open(web.url, cookie=browser(stack)[1])).abort()

    asyncio.run(reload())
    web.terminate()


def test_pages_are_opened_one_after_the_other(stack: Stack) -> None:
    pace = min(0.5 * slowness(), 10.0)  # the setting's minimum is one in ten seconds
    web = stack.start_web(socket_openings_per_second=1 / pace, page_run_seconds=2.4 * pace)

    async def status(cookie: str) -> int:
        try:
            (await Socket.open(web.url, cookie=cookie)).abort()
        except Refused as refused:
            return refused.status
        return 101

    async def open_six() -> list[int]:
        return await asyncio.gather(*(status(browser(stack)[1]) for _ in range(6)))

    assert sorted(asyncio.run(open_six())) == [101] * 3 + [503] * 3
    assert closed_counts(web) == {"sockets refused: pace": 3}, "one opens at once, two more while the others wait"
    assert "ERROR" not in web.log_text()
    web.terminate()


def test_page_works_after_long_questions(web: Process, cookie: str) -> None:
    """Web passes the app an empty message after each; the attack `questions` measures what that saves."""

    async def ask() -> None:
        page = await Page.open(web.url, cookie)
        for length in (20_000, 10, 20_000):
            await asyncio.wait_for(page.ask("x" * length), PATIENCE_SECONDS)
            await asyncio.wait_for(page.click(), PATIENCE_SECONDS)
        page.socket.abort()

    before = web.log_text().count("submitted")
    asyncio.run(ask())
    assert web.log_text().count("submitted") == before + 3


def test_missing_fragments_hold_no_turn(stack: Stack) -> None:
    """Streamlit skips a missing fragment silently, so nothing else would end its turn."""
    web = stack.start_web(page_runs=1, page_runs_overdue=0)

    async def crowd() -> float:
        ghosts = [await Page.open(web.url, browser(stack)[1]) for _ in range(3)]
        for page in ghosts:
            page.socket.send(frame(rerun(fragment="gone")))
        await asyncio.sleep(1)  # long enough for them to get turns
        page = await Page.open(web.url, browser(stack)[1])
        began = time.monotonic()
        for _ in range(3):
            await asyncio.wait_for(page.click(), PATIENCE_SECONDS)
        seconds = time.monotonic() - began
        for each in (*ghosts, page):
            each.socket.abort()
        return seconds

    assert asyncio.run(crowd()) < 3 * PATIENCE_SECONDS
    web.terminate()


def test_taken_over_session_runs_nothing_for_the_first(stack: Stack, cookie: str) -> None:
    web = stack.start_web(page_runs=1, page_runs_overdue=0)

    async def take_over() -> None:
        first = await Page.open(web.url, cookie)
        second = Page(await Socket.open(web.url, cookie=cookie, session=first.session))
        await asyncio.wait_for(second.click(), PATIENCE_SECONDS)
        assert second.session == first.session
        first.socket.send(frame(rerun(query="c=x")))
        for _ in range(3):
            await asyncio.wait_for(second.click(), PATIENCE_SECONDS)
        for page in (first, second):
            page.socket.abort()

    asyncio.run(take_over())
    web.terminate()
