"""Tests of the line of a waiting question: its place up to a thousand, in both languages, on the page and in `ask`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser

import web.live
from deploy.cli.ask import Terminal
from shared.following.phases import Phase, State
from shared.following.place import EXACT_PLACES
from shared.words import Words

pytestmark = pytest.mark.browser

WORDING = Path(web.live.__file__).with_name("wording.js")
LAST = State(request_id=uuid4(), phase=Phase.QUEUED, position=EXACT_PLACES, expected_seconds=30)
BEYOND = dataclasses.replace(LAST, position=EXACT_PLACES + 1, expected_seconds=None)
LINES = {
    "en": ("1000th in line · about 30\u00a0s", "More than 1,000 questions are ahead of yours"),
    "ko": ("대기 순서 1000번째 · 약 30초", "앞에 질문이 1,000개 넘게 있습니다"),
}


@pytest.mark.parametrize("locale", LINES)
def test_page_counts_the_line_up_to_a_thousand(browser: Browser, locale: str) -> None:
    page = browser.new_page()
    scripts = (WORDING.with_name("thoughts.js"), WORDING)
    text = "".join(each.read_text(encoding="utf-8") for each in scripts).replace("export ", "")
    page.add_script_tag(content=re.sub(r"^import .*$", "", text, flags=re.MULTILINE) + "\nwindow.Wording = Wording")
    said: list[Any] = [
        page.evaluate(
            "([labels, locale, seen]) => new Wording(labels, locale).phase({seen, seenAt: 0}, {})",
            [Words(locale).group("live."), locale, state.data(0.0)],
        )
        for state in (LAST, BEYOND)
    ]
    page.close()
    assert tuple(said) == LINES[locale]


def test_terminal_counts_the_line_up_to_a_thousand(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(as_json=False, words=Words("en"))
    for state in (LAST, BEYOND):
        terminal.state(state)
    assert capsys.readouterr().err.splitlines() == [
        "[1,000th in line]",
        "[More than 1,000 questions are ahead of yours]",
    ]
