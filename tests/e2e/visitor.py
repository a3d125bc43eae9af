"""A simulated user for end-to-end tests: asks in Chromium and checks what the page shows."""

from __future__ import annotations

from playwright.sync_api import Browser, Locator, Page, expect

from tests.patience import patient_ms
from tests.stack import Process


class Visitor:
    """A browser profile with a tab open on the page."""

    def __init__(self, browser: Browser, web: Process, *, locale: str = "en-US") -> None:
        self.context = browser.new_context(locale=locale)
        self.context.set_default_timeout(patient_ms(20))
        self.page = self.open_tab(web.url)

    def open_tab(self, url: str) -> Page:
        """Open a tab in the same browser and wait for the composer."""
        page = self.context.new_page()
        page.goto(url)
        expect(page.get_by_test_id("stChatInputTextArea")).to_be_visible(timeout=patient_ms(20))
        return page

    def ask(self, words: str) -> None:
        """Type and press Enter."""
        composer = self.page.get_by_test_id("stChatInputTextArea")
        composer.fill(words)
        composer.press("Enter")

    def live_text(self) -> str:
        """Return the live answer's text."""
        return self.page.locator(".naru-live .naru-answer").inner_text()

    def sees(self, words: str, *, seconds: float = 20) -> None:
        """Wait until these words are visible on the page."""
        expect(self.page.get_by_text(words).first).to_be_visible(timeout=patient_ms(seconds))

    def stored_answer(self, words: str) -> Locator:
        """Locate the stored answer, which Streamlit draws as its own Markdown."""
        return self.page.locator(".stMarkdown").get_by_text(words, exact=True)

    def close(self) -> None:
        """Close the browser window."""
        self.context.close()
