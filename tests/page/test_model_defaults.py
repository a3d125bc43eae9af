"""The defaults of models in Chromium: an empty field of the panel shows what holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Locator, expect

from shared.fleet import Member, Model, register
from shared.postgres.database import make_engine
from shared.tuning import Tuning
from shared.words.words import catalogue
from tests.page.person import Person, visitor
from tests.page.test_axe import found
from tests.patience import patient_ms
from tests.stack import Stack

pytestmark = pytest.mark.browser
EN = catalogue("en")
LONG = "한국어 존댓말로 답하고, 모르는 것은 모른다고 말합니다. 숫자에는 출처를 붙입니다. " * 10
MODELS = (
    Model(name="a/tuned", demo=False, defaults=Tuning(temperature=0.2, effort="low", instructions="Answer in Korean.")),
    Model(name="a/plain", demo=False),
    Model(name="a/wordy", demo=False, defaults=Tuning(temperature=0.25, effort="medium", instructions=LONG)),
)
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 780}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def url(module_stack: Stack) -> str:
    """The address of a page whose worker offers three models."""
    engine = make_engine(module_stack.settings, name="test")
    member = Member(worker_id=uuid4(), host="h", pid=1, version="0", slots=1, models=MODELS)
    page = module_stack.start_web()
    register(engine, member, lease_seconds=900)
    engine.dispose()
    return page.url


@pytest.fixture
def person(browser: Browser, url: str) -> Iterator[Person]:
    """Somebody in the browser."""
    with visitor(browser, url) as found_person:
        yield found_person.open()
        assert found_person.errors == []


def open_panel(person: Person, words: str = EN["tuning.title"]) -> None:
    person.page.get_by_role("button", name=words).click()
    expect(instructions(person)).to_be_visible()


def instructions(person: Person) -> Locator:
    return person.page.locator(".st-key-tuning-instructions textarea")


def temperature(person: Person) -> Locator:
    return person.page.locator(".st-key-tuning-temperature input")


def effort(person: Person) -> Locator:
    return person.page.locator(".st-key-tuning-effort input")


def choose(person: Person, model: str) -> None:
    """Choose a model, which closes the panel."""
    picker = person.page.locator(".st-key-model input")
    picker.click()
    person.page.get_by_role("option", name=model, exact=True).click()
    expect(picker).to_have_value(model, timeout=patient_ms(10))


def test_panel_shows_the_defaults_of_the_chosen_model(person: Person) -> None:
    open_panel(person)
    expect(instructions(person)).to_have_attribute("placeholder", "Model's default: Answer in Korean.")
    expect(temperature(person)).to_have_attribute("placeholder", "Model's default: 0.2")
    expect(effort(person)).to_have_value("Model's default: Low")
    person.page.keyboard.press("Escape")
    choose(person, "plain")
    open_panel(person)
    expect(instructions(person)).to_have_attribute("placeholder", EN["tuning.instructions_example"])
    expect(temperature(person)).to_have_attribute("placeholder", EN["tuning.default"])
    expect(effort(person)).to_have_value(EN["tuning.default"])


def test_own_settings_stay_when_the_defaults_change(person: Person) -> None:
    open_panel(person)
    instructions(person).fill("Be brief.")
    temperature(person).fill("1.5")
    person.page.get_by_role("button", name=EN["tuning.save"], exact=True).click()
    choose(person, "wordy")
    open_panel(person, EN["tuning.changed"])
    expect(instructions(person)).to_have_value("Be brief.")
    expect(temperature(person)).to_have_value("1.5")
    expect(effort(person)).to_have_value("Model's default: Medium")


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_panel_with_defaults_fits_a_narrow_page(browser: Browser, url: str, language: str, scheme: str) -> None:
    words = catalogue(language)
    with visitor(browser, url, **PHONE, locale=f"{language}-{language.upper()}", color_scheme=scheme) as person:
        person.open()
        choose(person, "wordy")
        open_panel(person, words["tuning.title"])
        expect(temperature(person)).to_have_attribute("placeholder", words["tuning.default_is"].format(value="0.25"))
        if folder := os.environ.get("SHOTS"):
            person.page.screenshot(path=str(Path(folder) / f"defaults-{language}-{scheme}.png"))
        assert found(person.page, "[data-testid='stPopoverBody']") == []
        box = instructions(person).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["viewport"]["width"]
        assert person.errors == []
