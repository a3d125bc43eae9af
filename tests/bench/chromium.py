"""Chromium on Naru's page: asks, reloads, and records in the page itself when text appears."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from playwright.sync_api import BrowserContext, Page, sync_playwright

from tests.bench.figure import CannotMeasure
from tests.bench.processes import accounted
from tests.page.chromium import find, launch
from tests.stack import wait_until

COMPOSER = "stChatInputTextArea"
#: Recognizes only answers with `emit=clock`, in which each token has its number and its sending time.
SCRIPT = """
(() => {
  const bench = window.__bench = { enter: 0, text: 0, back: 0, shown: 0, ended: 0, settled: 0 };
  const need = Number(sessionStorage.getItem("bench.need") || 0);
  const mark = sessionStorage.getItem("bench.mark");
  const now = () => performance.timeOrigin + performance.now();
  bench.tokens = () => {
    const answer = document.querySelector(".naru-early .naru-answer, .naru-block:not([hidden]) .naru-answer");
    return [...(answer?.textContent ?? "").matchAll(/w(\\d+)@(\\d{19})/g)];
  };
  bench.words = () => bench.tokens().map((found) => Number(found[1]));
  const look = () => {
    if (need && !bench.back && bench.tokens().length >= need) bench.back = now();
    const isNew = (found) => Number(found[2]) / 1e6 > bench.enter;
    if (bench.enter && !bench.text && bench.tokens().some(isNew)) bench.text = now();
    if (mark && !bench.shown && document.querySelector(".st-key-history")?.textContent.includes(mark)) {
      bench.shown = now();
    }
    const block = document.querySelector(".naru-block");
    if (bench.text && !bench.ended && block?.querySelector("[aria-busy=false]") && !block.hidden) bench.ended = now();
    if (bench.ended && !bench.settled && block?.hidden) bench.settled = now();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter") Object.assign(bench, { enter: now(), text: 0, ended: 0, settled: 0 });
  }, true);
  new MutationObserver(look).observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["hidden", "aria-busy"],
  });
})();
"""


class Chromium:
    """A context manager for a browser with one page. Raises CannotMeasure if Chromium is not installed."""

    def __enter__(self) -> Self:
        self._playwright = sync_playwright().start()
        if find() is None and not Path(self._playwright.chromium.executable_path).exists():
            self._playwright.stop()
            raise CannotMeasure("Chromium is not installed")
        self._browser = launch(self._playwright, single_threaded=False)
        self.version = self._browser.version
        self._page = self._new_page()
        return self

    def __exit__(self, *_: object) -> None:
        with accounted():
            self._browser.close()
            self._playwright.stop()

    def _new_page(self) -> Page:
        page = self._browser.new_page()
        page.set_default_timeout(30_000)
        page.add_init_script(SCRIPT)
        return page

    @contextmanager
    def profile(self) -> Iterator[BrowserContext]:
        """Yield a new browser profile without cookies or storage."""
        made = self._browser.new_context()
        try:
            yield made
        finally:
            made.close()

    def open(self, url: str) -> None:
        """Open a new conversation."""
        self._page.goto(url)
        self._page.evaluate("sessionStorage.removeItem('bench.need')")
        self._page.get_by_test_id(COMPOSER).wait_for()
        self.wait(1.0)

    def sign_in(self, url: str, cookie: str) -> None:
        """Take the identity in `cookie`, a cookie header."""
        name, _, value = cookie.partition("=")
        self._page.context.add_cookies([{"name": name, "value": value, "url": url}])

    def open_conversation(self, url: str, conversation_id: object, *, mark: str) -> float:
        """Open a stored conversation; return the ms from the navigation's start until its history shows `mark`."""
        self._page.goto(f"{url}/healthz")  # the same origin, so the page sees this sessionStorage
        self._page.evaluate("mark => sessionStorage.setItem('bench.mark', mark)", mark)
        self._page.goto(f"{url}/?c={conversation_id}", wait_until="commit")
        self._until("window.__bench?.shown > 0")
        return float(self._page.evaluate("window.__bench.shown - performance.timeOrigin"))

    def end_to_settled(self) -> float:
        """Wait until the answer is in the history; return the ms since the live answer ended: one run of the page."""
        self._until("window.__bench.settled > 0")
        return float(self._page.evaluate("window.__bench.settled - window.__bench.ended"))

    def ask(self, words: str) -> None:
        """Type, and press Enter."""
        composer = self._page.get_by_test_id(COMPOSER)
        composer.fill(words)
        self.wait(0.3)
        composer.press("Enter")

    def wait_for_words(self, number: int) -> None:
        """Wait until the page shows `number` tokens of a running answer."""
        self._until(f"window.__bench.tokens().length >= {number}")

    def words(self) -> list[int]:
        """Return the numbers of the tokens that the page shows now."""
        return [int(number) for number in self._page.evaluate("window.__bench.words()")]

    def enter_to_text(self) -> float:
        """Wait for the first new text in the page; return the ms from Enter."""
        self._until("window.__bench.text > 0")
        return float(self._page.evaluate("window.__bench.text - window.__bench.enter"))

    def wait_for_end(self) -> None:
        """Wait until the answer is part of the history."""
        self._until("document.querySelector('.naru-block')?.hidden === true")
        self.wait(0.3)

    def reload_until(self, words: int) -> float:
        """Reload; return the seconds until the page shows `words` tokens again."""
        began = self._page.evaluate(f"sessionStorage.setItem('bench.need', {words}), Date.now()")
        self._page.reload(wait_until="commit")
        self._until("window.__bench?.back > 0")
        return float(self._page.evaluate("window.__bench.back") - began) / 1e3

    def _until(self, condition: str) -> None:
        """Poll from outside, because the page's policy forbids evaluating our scripts in it."""
        wait_until(lambda: self._page.evaluate(condition), seconds=30, what=condition)

    def wait(self, seconds: float) -> None:
        """Sleep while the browser keeps running."""
        time.sleep(seconds)
