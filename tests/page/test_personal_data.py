"""Personal data in a question, in Chromium: the page warns once or refuses, and the text stays in the box."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from shared.words.words import catalogue
from tests.page.person import Person, newcomer
from tests.stack import Process, Stack

pytestmark = pytest.mark.browser
EN, KO = catalogue("en"), catalogue("ko")
CARD = "[[sim: tokens=5]] Is 4111 1111 1111 1111 a card?"
RESIDENT = "[[sim: tokens=5]] 900101-1234568은 누구입니까?"


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share the simulator and the worker among the tests."""
    module_stack.start_simulator()
    module_stack.start_worker()
    return module_stack


def web_that(stack: Stack, policy: str) -> Process:
    """Start a page with this policy."""
    stack.configure(personal_data=policy)
    return stack.start_web()


@pytest.fixture(scope="module")
def warning(stack: Stack) -> Process:
    """A page that warns."""
    return web_that(stack, "warn")


@pytest.fixture(scope="module")
def blocking(stack: Stack, warning: Process) -> Process:
    """A page that refuses."""
    return web_that(stack, "block")


@contextmanager
def visit(browser: Browser, web: Process, **context: Any) -> Iterator[Person]:
    """Open the page; it must show no error in the end."""
    with newcomer(browser, web.url, **context) as person:
        yield person.open()
        assert person.errors == []


def notice(*parts: str) -> str:
    """Return the sentences as the page joins them."""
    return " ".join(parts)


def test_page_warns_once_and_then_sends(browser: Browser, warning: Process) -> None:
    with visit(browser, warning) as person:
        person.ask(CARD)
        shown = person.page.locator(".naru-notice")
        expect(shown).to_have_text(notice(EN["error.card_number"], EN["notice.send_again"], EN["notice.kept"]))
        expect(person.composer).to_have_value(CARD)
        expect(person.questions).to_have_count(0)
        person.ask(CARD.replace("a card", "my card"))
        expect(person.questions).to_have_count(0)
        expect(shown).to_contain_text(EN["notice.send_again"])
        expect(person.composer).to_have_value(CARD.replace("a card", "my card"))
        person.composer.press("Enter")
        person.wait_for_end()
        expect(person.questions).to_have_count(1)
        expect(shown).to_be_hidden()


def test_page_refuses_what_the_operator_blocks(browser: Browser, blocking: Process) -> None:
    with visit(browser, blocking, locale="ko-KR", viewport={"width": 390, "height": 844}) as person:
        shown = person.page.locator(".naru-notice")
        for _ in range(2):
            person.ask(RESIDENT)
            expect(shown).to_have_text(notice(KO["error.resident_number"], KO["notice.remove_it"], KO["notice.kept"]))
            expect(person.composer).to_have_value(RESIDENT)
        person.ask(RESIDENT.replace("900101-1234568", "홍길동"))
        person.wait_for_end()
        expect(person.questions).to_have_count(1)
