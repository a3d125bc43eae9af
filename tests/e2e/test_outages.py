"""The page when a worker is killed, or Redis or Postgres restarts, in the middle of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.visitor import Visitor
from tests.patience import patient_ms
from tests.stack import SHORT_LEASES, WIDE_LIMITS, Process, Stack, wait_until

pytestmark = pytest.mark.browser

WORDS = " ".join(f"word{number}" for number in range(120))
LONG = f'[[sim: text="{WORDS}" pace=30 first=0.1]]'


@pytest.fixture(scope="module")
def own_stack(module_own_stack: Stack) -> Stack:
    """Share one stack. A test that stops a server starts it again."""
    module_own_stack.configure(**SHORT_LEASES, broker_silence_seconds=1)
    module_own_stack.start_simulator()
    return module_own_stack


@pytest.fixture(scope="module")
def web(own_stack: Stack) -> Process:
    """The web process."""
    return own_stack.start_web(**WIDE_LIMITS)


@pytest.fixture
def worker(own_stack: Stack) -> Process:
    """The running worker, started if there is none."""
    running = [each for each in own_stack.processes if each.command.name == "worker" and each.running]
    return running[0] if running else own_stack.start_worker()


@contextmanager
def _visit(browser: Browser, web: Process, *, locale: str = "en-US") -> Iterator[Visitor]:
    visitor = Visitor(browser, web, locale=locale)
    try:
        yield visitor
    finally:
        visitor.close()


def _shows_a_prefix(visitor: Visitor) -> bool:
    text = visitor.live_text().strip()
    assert WORDS.startswith(text), text
    return len(text) > 20


def test_killed_worker_is_shown_and_the_answer_restarts(
    own_stack: Stack, web: Process, worker: Process, browser: Browser
) -> None:
    """Two users see it, each in their own language."""
    with _visit(browser, web) as alice, _visit(browser, web, locale="ko-KR") as cheolsu:
        for each in (alice, cheolsu):
            each.ask(LONG)
        for each in (alice, cheolsu):
            wait_until(partial(_shows_a_prefix, each), what="the first words")
        worker.kill()
        own_stack.start_worker()
        alice.sees("2nd try", seconds=15)
        cheolsu.sees("2번째 시도", seconds=15)
        wait_until(lambda: _shows_a_prefix(alice), what="the first words again")
        for each in (alice, cheolsu):
            expect(each.stored_answer(WORDS)).to_have_count(1, timeout=patient_ms(30))


@pytest.mark.usefixtures("worker")
def test_redis_restarts_empty_and_the_text_goes_on(own_stack: Stack, web: Process, browser: Browser) -> None:
    with _visit(browser, web) as alice:
        alice.ask(LONG)
        wait_until(lambda: _shows_a_prefix(alice), what="the first words")
        before = len(alice.live_text())
        own_stack.servers.redis.kill()
        own_stack.servers.start_redis()
        wait_until(lambda: _shows_a_prefix(alice) and len(alice.live_text()) > before, what="more words")
        expect(alice.stored_answer(WORDS)).to_have_count(1, timeout=patient_ms(30))


@pytest.mark.usefixtures("worker")
def test_page_answers_slowly_while_redis_is_down(own_stack: Stack, web: Process, browser: Browser) -> None:
    own_stack.servers.stop_redis()
    try:
        with _visit(browser, web) as alice:
            alice.ask(LONG)
            alice.sees("Live updates are slow right now")
            wait_until(lambda: _shows_a_prefix(alice), what="the first words, from the checkpoints")
            expect(alice.stored_answer(WORDS)).to_have_count(1, timeout=patient_ms(30))
    finally:
        own_stack.servers.start_redis()


@pytest.mark.usefixtures("worker")
def test_postgres_restarts_and_the_answer_is_stored_once(own_stack: Stack, web: Process, browser: Browser) -> None:
    with _visit(browser, web) as alice:
        alice.ask(LONG)
        wait_until(lambda: _shows_a_prefix(alice), what="the first words")
        own_stack.servers.stop_postgres()
        before = len(alice.live_text())
        wait_until(lambda: len(alice.live_text()) > before, what="more words, without Postgres")
        own_stack.servers.start_postgres()
        expect(alice.stored_answer(WORDS)).to_have_count(1, timeout=patient_ms(30))


@pytest.mark.usefixtures("worker")
def test_composer_keeps_the_question_while_postgres_is_down(own_stack: Stack, web: Process, browser: Browser) -> None:
    with _visit(browser, web) as alice:
        own_stack.servers.stop_postgres()
        alice.ask("Where is my question?")
        expect(alice.page.get_by_test_id("stChatInputTextArea")).to_have_value(
            "Where is my question?", timeout=patient_ms(15)
        )
        own_stack.servers.start_postgres()
        alice.page.get_by_test_id("stChatInputTextArea").press("Enter")
        alice.sees("demo simulator", seconds=30)
