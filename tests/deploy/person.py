"""A person in Chromium in front of nginx, who asks, reads, and records the browser's console."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.page.chromium import launch

COMPOSER = "stChatInputTextArea"
SECONDS = 1000  # ms


class Person:
    """A person with one browser tab."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.said: list[str] = []  # the console's errors and warnings, and uncaught script errors
        self.sockets: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.said.append(f"pageerror: {error}"))
        self.page.on("websocket", lambda socket: self.sockets.append(socket.url))

    def open(self) -> Person:
        """Load the page and wait until the composer is visible."""
        self.page.goto(self.url)
        expect(self.page.get_by_test_id(COMPOSER)).to_be_visible(timeout=60 * SECONDS)
        self.page.locator(".naru-live").wait_for(state="attached")
        return self

    def ask(self, text: str) -> None:
        """Type and press Enter."""
        composer = self.page.get_by_test_id(COMPOSER)
        composer.fill(text)
        composer.press("Enter")

    def reads(self, *, characters: int) -> str:
        """Wait for this many characters of the running answer and return its text."""
        live = self.page.locator(".naru-live .naru-answer")
        expect(live).to_have_text(re.compile(rf"[\s\S]{{{characters},}}"), timeout=60 * SECONDS)
        return live.inner_text()

    def sees_answers(self, number: int, *, seconds: float = 90) -> str:
        """Wait for `number` finished answers and none running; return the last one's text."""
        answers = self.page.locator("[class*='st-key-answer-']")
        expect(answers).to_have_count(number, timeout=seconds * SECONDS)
        expect(self.page.locator(".naru-block")).to_be_hidden(timeout=seconds * SECONDS)
        return answers.last.inner_text()

    def violations(self) -> list[str]:
        """Return the recorded violations of the page's policy."""
        return [line for line in self.said if "Content Security Policy" in line or "Content-Security-Policy" in line]

    def _hear(self, line: ConsoleMessage) -> None:
        if line.type in {"error", "warning"}:
            self.said.append(f"{line.type}: {line.text}")


@contextmanager
def person(url: str, *, password: str = "", picture: Path | None = None) -> Iterator[Person]:
    """Yield a person in a new browser; on a failure, save a screenshot as `picture`."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        context = browser.new_context(
            ignore_https_errors=True,
            locale="en-US",
            http_credentials={"username": "naru", "password": password} if password else None,
        )
        made = Person(context, url)
        try:
            yield made
        except BaseException:
            if picture is not None:
                made.page.screenshot(path=picture)
            raise
        finally:
            browser.close()
