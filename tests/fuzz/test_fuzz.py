"""Some thousand hostile texts in both renderers; `./naru test fuzz --minutes N` goes on for hours.

One run takes the same texts as the one before, until somebody changes the seed: a failure must be one of the change.
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
#: Which texts are drawn does not depend on the machine: a quicker one must not be the first to see a text.
TEXTS = 5000


@pytest.fixture(scope="module")
def both(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sheet]:
    """A sheet."""
    with sheet(browser, tmp_path_factory.mktemp("sheet")) as found:
        yield found


def test_known_seed_does_nothing(both: Sheet) -> None:
    found = {each.source: list(findings(each)) for each in both.draw(SEEDS)}
    assert {text: sentences for text, sentences in found.items() if sentences} == {}
    assert both.done() == []


def test_oracle_detects_its_faults(both: Sheet) -> None:
    """Each of these would be found if one of the renderers let it through."""
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
def test_hostile_text_does_nothing(both: Sheet) -> None:
    report = fuzz(both, seed=SEED, seconds=math.inf, texts=TEXTS)
    assert report.texts == TEXTS
    assert report.findings == [], "\n\n".join(report.findings[:5])
