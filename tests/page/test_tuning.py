"""The settings of a conversation in Chromium: set before and after the first question, kept by a reload, reset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from shared.words.words import catalogue
from tests.page.person import Person, newcomer
from tests.page.test_axe import found
from tests.stack import Process, Stack

pytestmark = pytest.mark.browser
EN, KO = catalogue("en"), catalogue("ko")
SHORT = "[[sim: tokens=5]] "
BRIEF = "Answer briefly."
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "locale": "ko-KR",
    "color_scheme": "dark",
}


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack among the tests."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """The page's server, with a worker and the simulator."""
    stack.start_simulator()
    stack.start_worker()
    return stack.start_web(personal_data="warn")


@pytest.fixture
def person(browser: Browser, web: Process) -> Iterator[Person]:
    """A user on a new page."""
    with newcomer(browser, web.url) as found:
        yield found.open()
        assert found.errors == []


def button(person: Person, words: str) -> Locator:
    """Locate the button that opens the panel."""
    return person.page.get_by_role("button", name=words)


def opened_panel(person: Person, words: str) -> Locator:
    """Open the panel and return its instructions."""
    button(person, words).click()
    field = person.page.locator(".st-key-tuning-instructions textarea")
    expect(field).to_be_visible()
    return field


def test_settings_reach_the_first_question_and_a_reload(person: Person) -> None:
    opened_panel(person, EN["tuning.title"]).fill(BRIEF)
    person.page.locator(".st-key-tuning-temperature input").fill("0.3")
    person.page.get_by_role("button", name=EN["tuning.save"], exact=True).click()
    expect(button(person, EN["tuning.changed"])).to_be_visible()
    expect(person.page.locator(".st-key-tuning-instructions")).to_be_hidden()
    person.ask(SHORT + "first")
    person.wait_for_end()
    person.open(person.page.url)
    expect(opened_panel(person, EN["tuning.changed"])).to_have_value(BRIEF)
    expect(person.page.locator(".st-key-tuning-temperature input")).to_have_value("0.3")


def test_stored_settings_change_and_return_to_defaults(person: Person) -> None:
    person.ask(SHORT + "first")
    person.wait_for_end()
    opened_panel(person, EN["tuning.title"]).fill(BRIEF)
    person.page.get_by_role("button", name=EN["tuning.save"], exact=True).click()
    expect(button(person, EN["tuning.changed"])).to_be_visible()
    opened_panel(person, EN["tuning.changed"])
    person.page.get_by_role("button", name=EN["tuning.reset"], exact=True).click()
    expect(button(person, EN["tuning.title"])).to_be_visible()
    expect(opened_panel(person, EN["tuning.title"])).to_have_value("")


def test_closed_panel_keeps_what_was_typed(person: Person) -> None:
    for words in (BRIEF, f"{BRIEF} Always."):
        opened_panel(person, EN["tuning.title"]).fill(words)
        if words == BRIEF:
            person.page.keyboard.press("Escape")
        else:
            person.page.mouse.click(5, 5)
        expect(person.page.locator(".st-key-tuning-instructions")).to_be_hidden()
        expect(opened_panel(person, EN["tuning.title"])).to_have_value(words)
        person.page.keyboard.press("Escape")
        expect(person.page.locator(".st-key-tuning-instructions")).to_be_hidden()


def test_unstorable_character_does_not_block_a_chat(person: Person) -> None:
    opened_panel(person, EN["tuning.title"]).fill("Be\0brief.")
    person.page.get_by_role("button", name=EN["tuning.save"], exact=True).click()
    expect(button(person, EN["tuning.changed"])).to_be_visible()
    person.ask(SHORT + "first")
    person.wait_for_end()


def test_refused_instructions_stay_with_the_reason(person: Person) -> None:
    field = opened_panel(person, EN["tuning.title"])
    field.fill("My card is 4111 1111 1111 1111.")
    person.page.get_by_role("button", name=EN["tuning.save"], exact=True).click()
    panel = person.page.get_by_test_id("stPopoverBody")
    expect(panel.locator(".naru-notice")).to_have_text(f"{EN['error.instructions_private']} {EN['notice.save_again']}")
    expect(field).to_have_value("My card is 4111 1111 1111 1111.")
    person.page.get_by_role("button", name=EN["tuning.save"], exact=True).click()
    expect(button(person, EN["tuning.changed"])).to_be_visible()


def test_new_chat_begins_with_defaults(person: Person) -> None:
    opened_panel(person, EN["tuning.title"]).fill(BRIEF)
    person.page.get_by_role("button", name=EN["tuning.save"], exact=True).click()
    expect(button(person, EN["tuning.changed"])).to_be_visible()
    person.ask(SHORT + "first")
    person.wait_for_end()
    person.page.get_by_role("link", name=EN["sidebar.new"]).click()
    expect(person.page.locator(".st-key-empty")).to_be_visible()
    expect(button(person, EN["tuning.title"])).to_be_visible()


def test_panel_fits_a_narrow_page_in_korean(browser: Browser, web: Process) -> None:
    with newcomer(browser, web.url, **PHONE) as person:
        person.open()
        opened_panel(person, KO["tuning.title"])
        if folder := os.environ.get("SHOTS"):
            person.page.screenshot(path=str(Path(folder) / "tuning-ko.png"))
        assert found(person.page, "[data-testid='stPopoverBody']") == []
        assert found(person.page, ".st-key-composer-box") == []
        box = person.page.locator(".st-key-tuning-instructions textarea").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["viewport"]["width"]
        assert person.errors == []
