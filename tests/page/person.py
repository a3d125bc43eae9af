"""A Chromium user for the page tests and screenshots: asks and waits. The tests make the assertions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, Page, expect

from tests.patience import patient_ms

COMPOSER = "stChatInputTextArea"
RUNNING_SECONDS = 20.0


class Person:
    """A user in a browser tab."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        page.on("pageerror", self._failed)
        page.on("console", self._said)

    def _failed(self, error: Error) -> None:
        self.errors.append(str(error))

    def _said(self, line: ConsoleMessage) -> None:
        if line.type == "error":
            self.errors.append(line.text)

    def open(self, address: str = "/") -> Person:
        """Open the page and wait until it is ready."""
        self.page.goto(address if address.startswith("http") else self.url + address)
        self.composer.wait_for()
        self.page.locator(".naru-live").wait_for(state="attached")
        return self

    @property
    def composer(self) -> Locator:
        """The text field."""
        return self.page.get_by_test_id(COMPOSER)

    @property
    def block(self) -> Locator:
        """The running answer with its status."""
        return self.page.locator(".naru-block")

    @property
    def live(self) -> Locator:
        """The running answer's text."""
        return self.page.locator(".naru-live .naru-answer")

    @property
    def answers(self) -> Locator:
        """The ended answers."""
        return self.page.locator("[class*='st-key-answer-']")

    @property
    def questions(self) -> Locator:
        """The person's own messages."""
        return self.page.locator(".naru-question")

    def ask(self, text: str) -> None:
        """Type and send: with Enter, or with the button on a touch screen."""
        self.composer.fill(text)
        if self.page.evaluate("() => matchMedia('(pointer: coarse)').matches"):
            self.page.get_by_test_id("stChatInputSubmitButton").click()
        else:
            self.composer.press("Enter")

    def wait_for_text(self, *, characters: int = 1) -> str:
        """Wait for this many characters of the running answer."""
        pattern = re.compile(rf"[\s\S]{{{characters},}}")
        expect(self.live).to_have_text(pattern, timeout=patient_ms(RUNNING_SECONDS))
        expect(self.block).to_be_visible()
        return self.live.inner_text()

    def wait_for_end(self, *, answers: int = 1) -> None:
        """Wait until Streamlit shows the finished answers."""
        expect(self.answers).to_have_count(answers, timeout=patient_ms(RUNNING_SECONDS))
        expect(self.block).to_be_hidden(timeout=patient_ms(RUNNING_SECONDS))

    def leave(self) -> bool:
        """Clear the tab and its profile for reuse; return False if that fails."""
        self.page.remove_listener("pageerror", self._failed)
        self.page.remove_listener("console", self._said)
        try:
            for tab in self.page.context.pages:
                if tab is not self.page:
                    tab.close()
            self.page.unroute_all()
            self.page.goto(f"{self.url}/healthz")  # same origin: its storage is accessible, and scripts stay compiled
            self.page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
            self.page.context.clear_cookies()
        except Error:
            return False
        return True

    def another_tab(self) -> Person:
        """Open the conversation in a second tab of the same browser."""
        return Person(self.page.context.new_page(), self.url).open(self.page.url)


@contextmanager
def visitor(browser: Browser, url: str, **context: Any) -> Iterator[Person]:
    """Yield a user with a new browser profile, by default English and 1280 px wide."""
    page = _new_page(browser, context)
    try:
        yield Person(page, url)
    finally:
        page.context.close()


#: Cleared tabs for reuse, by browser and context options.
_left: dict[tuple[Browser, str], Page] = {}


@contextmanager
def newcomer(browser: Browser, url: str, **context: Any) -> Iterator[Person]:
    """Like `visitor`, but in a reused tab: it keeps no cookies, storage or connections of earlier users, only the
    page's compiled scripts, which are two thirds of the cost of a visit. Do not use it in a test that adds scripts to
    the tab or checks what the tab loads.
    """
    key = (browser, repr(sorted(context.items())))
    page = _left.pop(key, None) or _new_page(browser, context)
    person = Person(page, url)
    is_well = False
    try:
        yield person
        is_well = True
    finally:
        if is_well and person.leave():
            _left[key] = page
        else:
            page.context.close()


def forget(browser: Browser) -> None:
    """Forget this browser's tabs, because it is about to close."""
    for key in [key for key in _left if key[0] is browser]:
        del _left[key]


def _new_page(browser: Browser, context: dict[str, Any]) -> Page:
    usual = {"locale": "en-US", "timezone_id": "Asia/Seoul", "viewport": {"width": 1280, "height": 800}}
    profile: BrowserContext = browser.new_context(**{**usual, **context})
    profile.set_default_timeout(patient_ms(RUNNING_SECONDS))
    return profile.new_page()
