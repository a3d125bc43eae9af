"""A model that thinks: the page says so, folds what it thought, and keeps it out of what is copied."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect
from sqlalchemy import update

from shared.postgres.database import make_engine, transaction
from shared.tables import reasoning
from tests.page.person import Person, visitor
from tests.patience import patient_ms
from tests.stack import Stack
from workers.simulator import text_for

pytestmark = pytest.mark.browser
THOUGHT = "First <b>the boat</b>, then the ferryman. "
ASKED = f'[[sim: shape=think thought="{THOUGHT}" thoughts=150 text="Take the **boat** across." tokens=90 pace=12]]'
SAYS = {
    "en-US": (r"^Thinking, \d:\d\d$", r"^Thought for \d:\d\d$"),
    "ko-KR": (r"^생각하는 중, \d:\d\d$", r"^\d:\d\d 동안 생각했습니다$"),
}
UNTIMED = {"en-US": "Thought before answering", "ko-KR": "답변하기 전에 생각했습니다"}


@pytest.fixture(scope="module")
def url(module_stack: Stack) -> str:
    """Start the processes once for both languages."""
    module_stack.start_simulator()
    module_stack.start_worker()
    return module_stack.start_web().url


@pytest.fixture(params=list(SAYS))
def person(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[tuple[Person, str]]:
    """A person in each language."""
    with visitor(browser, url, locale=request.param, permissions=["clipboard-read", "clipboard-write"]) as found:
        yield found.open(), request.param


def fold_of(place: Locator) -> Locator:
    return place.locator("details.naru-thought")


def test_page_folds_what_a_model_thought(person: tuple[Person, str]) -> None:
    reader, locale = person
    thinking, thought = map(re.compile, SAYS[locale])
    reader.ask(ASKED)
    status = reader.block.locator(".naru-words")
    expect(status).to_have_text(thinking, timeout=patient_ms(10))
    first = status.inner_text()
    expect(status).not_to_have_text(first, timeout=patient_ms(5))  # the clock runs
    expect(fold_of(reader.block)).to_be_hidden()
    reader.page.reload()
    expect(status).to_have_text(thinking, timeout=patient_ms(20))
    assert status.inner_text()[-4:] >= first[-4:], "a reload does not start the clock anew"

    reader.wait_for_text()
    expect(fold_of(reader.block)).to_be_visible()
    expect(fold_of(reader.block).locator("summary")).to_have_text(thought)
    live = fold_of(reader.block).inner_text()
    reader.wait_for_end()
    answer = reader.answers.last
    fold = fold_of(answer)
    expect(fold.locator("summary")).to_have_text(thought)
    assert fold.inner_text() == live
    expect(fold.locator(".naru-thought-text")).to_be_hidden()

    fold.locator("summary").focus()
    reader.page.keyboard.press("Enter")
    expect(fold.locator(".naru-thought-text")).to_contain_text("First <b>the boat</b>, then the ferryman.")
    expect(fold.locator("summary")).to_be_in_viewport()
    answer.locator(".naru-copy").click()
    copied = reader.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == text_for(ASKED)

    reader.page.reload()
    expect(fold_of(reader.answers.last).locator("summary")).to_have_text(live)
    expect(fold_of(reader.answers.last).locator(".naru-thought-text")).to_be_hidden()
    assert reader.errors == []


def test_fold_without_a_time_can_be_read(person: tuple[Person, str], module_stack: Stack) -> None:
    """Nobody knows how long a model thought whose answer a new worker took up."""
    reader, locale = person
    reader.ask(f'[[sim: shape=think thought="{THOUGHT}" thoughts=20 text="Take the boat." pace=0]]')
    reader.wait_for_end()
    engine = make_engine(module_stack.settings, name="test")
    with transaction(engine) as connection:
        connection.execute(update(reasoning).values(seconds=0.0))
    engine.dispose()
    reader.page.reload()
    fold = fold_of(reader.answers.last)
    expect(fold.locator("summary")).to_have_text(UNTIMED[locale])
    fold.locator("summary").click()
    expect(fold.locator(".naru-thought-text")).to_contain_text("then the ferryman.")
