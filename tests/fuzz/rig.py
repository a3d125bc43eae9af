"""Both renderers on one real page: Streamlit's, fed by `to_streamlit`, and the live answer's, in the same column.

grammar.py and corpus/ supply the texts, and oracle.py checks what the renderers show.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Dialog, Page, Request

from deploy.cli.checks import scrub
from deploy.embedded.processes import Command
from tests.patience import patient
from tests.stack import Process, free_port, get, start, wait_until
from web.live.modules import bundle, colours

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
JUDGE = (HERE / "judge.js").read_text(encoding="utf-8")
WHOLE = 10**9
DRAWING_SECONDS = patient(60)


@dataclass(frozen=True, slots=True)
class Look:
    """A renderer's output for a text."""

    shape: str
    text: str
    height: float
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A text in both renderers."""

    source: str
    streamlit: Look
    live: Look


class Sheet:
    """A page that shows texts in both renderers."""

    def __init__(self, page: Page, url: str, folder: Path) -> None:
        self.page = page
        self.url = url
        self.folder = folder
        self.numbers = itertools.count(1)
        self.foreign: list[str] = []
        page.set_default_timeout(DRAWING_SECONDS * 1000)
        page.on("request", self._requested)
        page.on("dialog", self._spoken_to)
        page.on("popup", self._opened)

    def open(self) -> Sheet:
        """Load the page and inject the live answer's code."""
        # Plain Streamlit does not serve it.
        self.page.route("**/colours.js?*", lambda route: route.fulfill(body=colours(), content_type="text/javascript"))
        self.page.goto(self.url)
        self.page.get_by_label("batch").wait_for()
        exports = "const mount = (window.naru = { GrowingAnswer, loadTypesetter, loadColours }, function"
        source = bundle().replace("export default function mount", exports).rstrip()
        self.page.add_script_tag(content=f"(() => {{ {source}); }})()")
        self.page.evaluate(f"() => {{ window.judge = {JUDGE}; }}")
        return self

    def draw(self, texts: list[str], *, step: int = WHOLE) -> list[Shown]:
        """Render the texts (live: `step` characters at a time) and return the results."""
        number = next(self.numbers)
        (self.folder / f"{number}.json").write_text(json.dumps(texts))
        field = self.page.get_by_label("batch")
        field.fill(str(number))
        field.press("Enter")
        self.page.wait_for_function("number => window.judge.isDrawn(number)", arg=number)
        self.page.evaluate("([texts, step]) => window.judge.show(texts, step)", [texts, step])
        self.page.wait_for_function("number => window.judge.isDrawn(number)", arg=number)
        results = self.page.evaluate("count => window.judge.results(count)", len(texts))
        return [
            Shown(text, _look(result["streamlit"]), _look(result["live"]))
            for text, result in zip(texts, results, strict=True)
        ]

    def tops(self, index: int) -> list[list[str]]:
        """Return the top and height of each block of text `index`, for Streamlit and live."""
        tops: list[list[str]] = self.page.evaluate("index => window.judge.tops(index)", index)
        return tops

    def done(self) -> list[str]:
        """Return the texts' side effects outside their rendering; empty if all is well."""
        acted = self.page.evaluate("() => window.acted ?? null")
        return [*self.foreign, *([f"script: {acted}"] if acted else [])]

    def _spoken_to(self, dialog: Dialog) -> None:
        self.foreign.append(dialog.message)
        dialog.dismiss()

    def _opened(self, popup: Page) -> None:
        self.foreign.append(popup.url)

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self.url + "/", "data:font", "blob:", "data:image/svg")):
            self.foreign.append(request.url)


def _look(result: dict[str, Any] | None) -> Look:
    if result is None:  # Streamlit draws nothing for an empty text
        return Look("", "", 0, ())
    return Look(result["shape"], result["text"], result["height"], tuple(result["faults"]))


@contextmanager
def streamlit_process(folder: Path) -> Iterator[Process]:
    """Run sheet.py in Streamlit's own server on a free port, with the texts in `folder`."""
    port = free_port()
    argv = (
        *(sys.executable, "-m", "streamlit", "run", str(HERE / "sheet.py")),
        *("--server.port", str(port), "--server.address", "127.0.0.1", "--", str(folder)),
    )
    environ = {**scrub(os.environ), "PYTHONPATH": str(ROOT)}
    process = start(Command(name="sheet", argv=argv, environ=environ), log=folder / "sheet.log")
    process.url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: get(process.url + "/_stcore/health")[0] == 200, seconds=60, what="the sheet is served")
        yield process
    finally:
        process.kill()


@contextmanager
def sheet(browser: Browser, folder: Path, **context: Any) -> Iterator[Sheet]:
    """Open a sheet in its own browser profile."""
    with streamlit_process(folder) as process:
        profile = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1280, "height": 800}, **context})
        try:
            yield Sheet(profile.new_page(), process.url, folder).open()
        finally:
            profile.close()
