"""Five thousand hostile texts in both renderers; `./naru test fuzz --minutes N` renders more.

Every run renders the same texts until somebody changes the seed, so a failure comes from the change under test.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.fuzz.oracle import findings
from tests.fuzz.rig import Sheet, sheet
from tests.fuzz.run import fuzz

pytestmark = pytest.mark.browser
SEEDS: list[str] = json.loads((Path(__file__).parent / "seeds.json").read_text(encoding="utf-8"))
SEED = 20261128
#: A fixed number, so that a faster machine does not render texts that a slower one never reached.
TEXTS = 5000


@pytest.fixture(scope="module")
def both(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sheet]:
    """A page with both renderers."""
    with sheet(browser, tmp_path_factory.mktemp("sheet")) as found:
        yield found


def test_known_seeds_have_no_findings(both: Sheet) -> None:
    found = {each.source: list(findings(each)) for each in both.draw(SEEDS)}
    assert {text: sentences for text, sentences in found.items() if sentences} == {}
    assert both.done() == []


def test_oracle_detects_its_faults(both: Sheet) -> None:
    both.draw(["a"])
    for markup, sentence in {
        '<span style="color: red">x</span>': "style color",
        "<img src=x>": "element img",
        "<a href='data:text/html,x'>x</a>": "target data:",
        "<p style='height: 99999px'>x</p>": "style height",
        "<b class='stMarkdownColoredText'>x</b>": "element b",
    }.items():
        both.page.evaluate("markup => { document.querySelector('.naru-answer').innerHTML = markup; }", markup)
        (result,) = both.page.evaluate("() => window.judge.results(1)")
        assert any(fault.startswith(sentence) for fault in result["live"]["faults"]), markup


@pytest.mark.timeout(600)
def test_hostile_text_has_no_findings(both: Sheet) -> None:
    report = fuzz(both, seed=SEED, seconds=math.inf, texts=TEXTS)
    assert report.texts == TEXTS
    assert report.findings == [], "\n\n".join(report.findings[:5])
