"""A person in Chromium: asks, waits, looks. For the page's tests and the pictures. Not here: what must be true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.patience import patient_ms

COMPOSER = "stChatInputTextArea"
RUNNING_SECONDS = 20.0


class Person:
    """One tab of one browser."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)

    def open(self, address: str = "/") -> Person:
        """Open the page and wait until one can type."""
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
        """The running answer with what it says of itself."""
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
        """Type, and send as one does: with Enter, or with the button where fingers do it."""
        self.composer.fill(text)
        if self.page.evaluate("() => matchMedia('(pointer: coarse)').matches"):
            self.page.get_by_test_id("stChatInputSubmitButton").click()
        else:
            self.composer.press("Enter")

    def wait_for_text(self, *, characters: int = 1) -> str:
        """Wait until so much of the running answer is there."""
        pattern = re.compile(rf"[\s\S]{{{characters},}}")
        expect(self.live).to_have_text(pattern, timeout=patient_ms(RUNNING_SECONDS))
        expect(self.block).to_be_visible()
        return self.live.inner_text()

    def wait_for_end(self, *, answers: int = 1) -> None:
        """Wait until the answer is Streamlit's own Markdown."""
        expect(self.answers).to_have_count(answers, timeout=patient_ms(RUNNING_SECONDS))
        expect(self.block).to_be_hidden(timeout=patient_ms(RUNNING_SECONDS))

    def another_tab(self) -> Person:
        """A second tab of the same browser on the same conversation."""
        return Person(self.page.context.new_page(), self.url).open(self.page.url)


@contextmanager
def visitor(browser: Browser, url: str, **context: Any) -> Iterator[Person]:
    """A new browser profile, by default English, 1280 px wide."""
    profile: BrowserContext = browser.new_context(
        **{"locale": "en-US", "timezone_id": "Asia/Seoul", "viewport": {"width": 1280, "height": 800}, **context}
    )
    profile.set_default_timeout(patient_ms(RUNNING_SECONDS))
    try:
        yield Person(profile.new_page(), url)
    finally:
        profile.close()
