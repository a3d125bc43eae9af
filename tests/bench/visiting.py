"""A visit to the page: when one can type, when Streamlit's composer appears, and what came over the network.

The page itself records the times, as in chromium.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from playwright.sync_api import BrowserContext

from tests.bench.figure import Numbers
from tests.page.network import Load, Network
from tests.stack import wait_until
from web.shell import chunks

#: Lighthouse's slow 4G: bytes a second down and up, and the latency of a response in milliseconds.
SLOW_LINE = {"offline": False, "downloadThroughput": 1_600_000 / 8, "uploadThroughput": 750_000 / 8, "latency": 150}
SCRIPT = """
(() => {
  const COMPOSER = "[data-testid='stChatInputTextArea']";
  const seen = window.__visit = { typing: 0, composer: 0 };
  const look = () => {
    if (!seen.typing && document.querySelector("#naru-skeleton textarea")) seen.typing = performance.now();
    if (!seen.composer && document.querySelector(COMPOSER)) seen.composer = performance.now();
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true });
})();
"""


@dataclass(frozen=True, slots=True)
class Visit:
    """Times in ms from the navigation's start; `loaded` has every request until the page was idle."""

    typing: float
    composer: float
    loaded: list[Load]
    bytes: int

    def numbers(self) -> Numbers:
        """Return bytes and requests, in total and by kind."""
        sizes: Counter[str] = Counter()
        for load in self.loaded:
            sizes[load.kind.lower()] += load.bytes
        by_kind = {f"bytes_{kind}": float(sizes[kind]) for kind in sizes}
        return {"bytes": float(self.bytes), "requests": float(len(self.loaded)), **by_kind}


def visit(profile: BrowserContext, url: str, *, is_slow: bool = False) -> Visit:
    """Open the page in a new tab of this profile, wait until loading ends, and close the tab."""
    page = profile.new_page()
    page.add_init_script(SCRIPT)
    network = Network(page)
    if is_slow:
        profile.new_cdp_session(page).send("Network.emulateNetworkConditions", SLOW_LINE)
    page.goto(url, wait_until="commit")
    last = chunks.late()[-1]

    def is_at_rest() -> bool:
        page.wait_for_timeout(50)  # Playwright delivers events only during a call
        return any(load.url.endswith(last) and (load.bytes or load.is_cached) for load in network.loads)

    wait_until(is_at_rest, seconds=120, what="the page has its last late file")
    times = page.evaluate("window.__visit")
    page.close()
    return Visit(times["typing"], times["composer"], network.loaded, network.bytes)
