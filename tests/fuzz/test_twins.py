"""The Python rewriter and its JavaScript twin: the same lines for the same text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.fuzz.grammar import text_of
from tests.patience import patient_ms
from web.live.modules import HERE, bundle
from web.markdown import to_streamlit

pytestmark = pytest.mark.browser
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.md"))
TWIN = """texts => texts.map((text) =>
  naru.rewritten(naru.wholeLines(text).lines).flatMap(({ lines }) => lines).join("\\n"))"""
TEXTS = 5000


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """An empty page with the live answer's code."""
    page = browser.new_page()
    page.set_default_timeout(patient_ms(20))
    exports = "const mount = (window.naru = { rewritten, wholeLines }, function"
    page.set_content("<p>")
    page.add_script_tag(content=bundle().replace("export default function mount", exports).rstrip() + ");")
    yield page
    page.close()


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_twins_rewrite_ordinary_text_alike(page: Page, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert page.evaluate(TWIN, [text]) == [to_streamlit(text)]


def test_twins_rewrite_hostile_text_alike(page: Page) -> None:
    texts = [text_of(14, number) for number in range(TEXTS)]
    mine = [to_streamlit(text) for text in texts]
    for text, expected, found in zip(texts, mine, page.evaluate(TWIN, texts), strict=True):
        assert found == expected, json.dumps(text)


def test_twins_cut_excess_alike(page: Page) -> None:
    for part in ("*a ", "`", "$x ", "> ", "- ", "\\[\n", "| a ", "[", "a\n", "😀", "Z" + "\u0301" * 20, "    "):
        text = part * (30_000 // len(part))
        assert page.evaluate(TWIN, [text]) == [to_streamlit(text)], repr(part)


def test_vendor_folder_holds_only_known_files() -> None:
    assert {path.name for path in (HERE / "vendor").iterdir()} == {
        "micromark.js",
        "micromark.entry.js",
        "micromark.LICENSE",
        "prism.js",
        "prism.LICENSE",
    }
