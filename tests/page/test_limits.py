"""Limits of tokens in Chromium: the page says what is left, refuses with the reason, and shows one's use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import text

from shared.postgres.database import make_engine, transaction
from shared.words.words import catalogue
from tests.page.person import Person, newcomer
from tests.page.test_axe import found
from tests.patience import patient_ms
from tests.stack import Process, Stack
from web.allowances import KEPT_SECONDS

pytestmark = pytest.mark.browser
EN, KO = catalogue("en"), catalogue("ko")
ASKED = "[[sim: tokens=5]] How much is left?"
ZONE = "Asia/Seoul"


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share the simulator, the worker and the page among the tests."""
    module_stack.configure(tokens_per_day=1000, time_zone=ZONE, contact="help@example.org")
    module_stack.start_simulator()
    module_stack.start_worker()
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start the page."""
    return stack.start_web()


@contextmanager
def visit(browser: Browser, web: Process, **context: Any) -> Iterator[Person]:
    """Open the page and get one answer; there must be no error in the end."""
    with newcomer(browser, web.url, timezone_id=ZONE, **context) as person:
        person.open().ask(ASKED)
        person.wait_for_end()
        yield person
        assert person.errors == []


def use(stack: Stack, tokens: int) -> None:
    """Set what everybody has used today."""
    engine = make_engine(stack.settings, name="test")
    with transaction(engine) as connection:
        connection.execute(text("UPDATE spending SET input_tokens = :n, output_tokens = 0"), {"n": tokens})
    engine.dispose()


def test_page_says_what_is_left_once_it_is_little(browser: Browser, stack: Stack, web: Process) -> None:
    with visit(browser, web) as person:
        expect(person.page.locator(".naru-left")).to_have_count(0)
        use(stack, 900)
        person.page.wait_for_timeout(KEPT_SECONDS * 1000)
        person.open()
        expect(person.page.locator(".naru-left")).to_have_text("100 of 1,000 tokens left today", timeout=patient_ms(10))


def test_used_up_limit_refuses_and_keeps_the_text(browser: Browser, stack: Stack, web: Process) -> None:
    with visit(browser, web) as person:
        use(stack, 1000)
        person.ask(ASKED)
        refused = person.page.locator(".naru-notice")
        expect(refused).to_contain_text(EN["error.tokens_of_day_used"], timeout=patient_ms(10))
        expect(refused).to_contain_text(re.compile(r"You can ask again from \w+ \d+, 00:00\."))
        expect(refused).to_contain_text("help@example.org")
        expect(person.composer).to_have_value(ASKED)
        expect(person.answers).to_have_count(1)


@pytest.mark.parametrize(("locale", "width", "scheme"), [("en-US", 1440, "light"), ("ko-KR", 390, "dark")])
def test_use_is_shown_by_day_and_model(browser: Browser, web: Process, locale: str, width: int, scheme: str) -> None:
    words = KO if locale == "ko-KR" else EN
    size = {"width": width, "height": 900}
    with visit(browser, web, locale=locale, viewport=size, color_scheme=scheme) as person:
        person.page.goto(f"{web.url}/usage")
        expect(person.page.get_by_role("heading", level=1)).to_have_text(words["usage.title"])
        expect(person.page.get_by_role("row").filter(has_text="demo/")).to_have_count(1)
        assert person.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert found(person.page) == []
        person.page.get_by_role("link", name=words["account.back"]).click()
        person.composer.wait_for()
