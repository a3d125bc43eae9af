"""axe-core finds nothing worse than minor in any state of the page, in both themes, wide and narrow.

`axe/axe.min.js` is axe-core 4.14.1, unchanged from its npm package (MPL-2.0). Only these tests use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect
from sqlalchemy import select

from shared.postgres.database import make_engine, transaction
from shared.tables import conversation
from tests.page.person import Person, visitor
from tests.page.pictures import fill
from tests.patience import patient_ms
from tests.stack import WIDE_LIMITS, Stack

pytestmark = pytest.mark.browser

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
FIND = """part => axe.run(part, { resultTypes: ["violations"] }).then(({ violations }) => violations
  .filter(({ impact }) => impact !== "minor")
  .flatMap(({ id, impact, nodes }) => nodes.map(({ html }) => `${impact} ${id}: ${html.slice(0, 200)}`)))"""
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 390, "height": 844}
#: Colour scheme, language and size. Each value occurs once, because a look takes half a minute.
LOOKS = [("light", "ko-KR", WIDE), ("dark", "en-US", NARROW)]
#: Longer than a line of the widest column, so that it has to scroll.
CODE = "x = 1  # a comment and a 'string' " * 6
RICH = "\\n\\n".join(
    (
        "# One",
        "text `code` [link](https://example.org)",
        f"```python\\n{CODE}\\n```",
        f"| a | b |\\n|---|---|\\n| 1 | {'w' * 200} |",
        "> quote",
        "### Three",
        "$x^2$",
        "foot[^1]",
        "[^1]: note",
    )
)


#: Time for new elements to fade in, and for code to get its colours.
SETTLED_MS = 700
LOOKS_AT_MOST = 3


class Gallery(NamedTuple):
    """One owner's conversations, each in a different state that lasts."""

    url: str
    storage: StorageState
    addresses: dict[str, str]


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack among all looks."""
    return module_stack


@pytest.fixture(scope="module")
def gallery(stack: Stack, browser: Browser) -> Iterator[Gallery]:
    """Every state, produced once on a real stack."""
    stack.start_simulator()
    # A silent model must not time out before the last look.
    stack.start_worker(concurrency=3, first_token_seconds=900)
    with visitor(browser, stack.start_web(**WIDE_LIMITS).url) as person:
        addresses = {"empty": "/"}
        addresses["ended"] = asked(person, f'[[sim: text="{RICH}"]] Show me everything')
        person.wait_for_end()
        addresses["failed"] = asked(person, "[[sim: fault=quota]] Why is the sky blue?")
        expect(person.page.locator(".naru-failed")).to_be_visible(timeout=patient_ms(15))
        addresses["failed in the middle"] = asked(person, "[[sim: fault=cut at=120]] Why is the sea salt?")
        expect(person.page.locator(".naru-failed")).to_be_visible(timeout=patient_ms(30))
        addresses["thought"] = asked(
            person, '[[sim: shape=think thoughts=200 thought="The boat is away. " pace=150 text="So."]] think first'
        )
        expect(person.answers.locator(".naru-thought")).to_be_visible(timeout=patient_ms(15))
        addresses["stopped"] = asked(person, "[[sim: tokens=1500 pace=20]] stop me")
        person.wait_for_text(characters=100)
        person.page.locator(".naru-stop").first.click()
        expect(person.page.locator(".naru-remark")).to_be_visible()
        addresses["500 messages"] = long(stack)
        # From here on the worker's three slots stay taken.
        addresses["streaming"] = asked(person, "[[sim: tokens=100000 pace=20]] Show me code and a table")
        person.wait_for_text(characters=100)
        addresses["thinking"] = asked(person, "[[sim: first=600]] think")
        expect(person.page.locator(".naru-block[data-phase='thinking']")).to_be_visible()
        asked(person, "[[sim: first=600]] think")
        asked(person, "[[sim: first=600]] next")
        addresses["queued"] = asked(person, "[[sim: first=600]] wait")
        addresses["unknown"] = "/?c=nonsense"
        addresses["lost"] = "/nope/deep"
        yield Gallery(person.url, person.page.context.storage_state(), addresses)


def asked(person: Person, question: str) -> str:
    """Ask in a new conversation; return its address."""
    person.open("/").ask(question)
    expect(person.questions.first).to_be_visible()
    return person.page.url


def long(stack: Stack) -> str:
    """Store a conversation of 500 messages; return its address."""
    engine = make_engine(stack.settings, name="test")
    with transaction(engine) as connection:
        owner_id = connection.execute(select(conversation.c.owner_id).limit(1)).scalar_one()
    address = f"/?c={fill(engine, owner_id=owner_id, messages=500)}"
    engine.dispose()
    return address


def found(page: Page, part: str = "html") -> list[str]:
    """Return axe's findings above minor in the element `part`, a CSS selector.

    Look up to three times, because elements may still fade or move.
    """
    page.evaluate(AXE)
    violations: list[str] = []
    for _ in range(LOOKS_AT_MOST):
        page.wait_for_timeout(SETTLED_MS)
        violations = page.evaluate(FIND, part)
        if not violations:
            break
    return violations


#: An element that appears only once the state is drawn.
READY = {
    "empty": ".st-key-empty",
    "lost": "main a",
    "unknown": ".naru-notice",
    "streaming": ".naru-growing",
    "thinking": ".naru-block[data-phase='thinking']",
    "queued": ".naru-block[data-phase='queued']",
}


@pytest.mark.parametrize(("scheme", "locale", "size"), LOOKS, ids=str)
def test_axe_finds_nothing(gallery: Gallery, browser: Browser, scheme: str, locale: str, size: dict[str, int]) -> None:
    looks: dict[str, Any] = {"color_scheme": scheme, "locale": locale, "viewport": size}
    findings: dict[str, list[str]] = {}
    with visitor(browser, gallery.url, storage_state=gallery.storage, **looks) as person:
        # The ended answer comes last, because the menu is opened there.
        for state, address in sorted(gallery.addresses.items(), key=lambda each: each[0] == "ended"):
            person.page.goto(address if address.startswith("http") else gallery.url + address)
            expect(person.page.locator(READY.get(state, ".naru-about")).first).to_be_visible(timeout=patient_ms(15))
            if state == "thought":
                person.answers.locator(".naru-thought summary").click()
                expect(person.answers.locator(".naru-thought-text")).to_contain_text("boat")
            findings[state] = found(person.page)
        for dialog in (0, 1):
            findings[f"menu {dialog}"] = open_menu(person, is_narrow=size is NARROW and dialog == 0)
            person.page.get_by_role("menuitem").nth(dialog).click()
            expect(person.page.get_by_role("dialog")).to_be_visible()
            findings[f"dialog {dialog}"] = found(person.page)
            person.page.keyboard.press("Escape")
            expect(person.page.get_by_role("dialog")).to_have_count(0)
    assert {state: what for state, what in findings.items() if what} == {}


def open_menu(person: Person, *, is_narrow: bool) -> list[str]:
    """Open the conversation's menu, on a phone after expanding the sidebar; return axe's findings."""
    if is_narrow:
        person.page.get_by_test_id("stExpandSidebarButton").click()
    person.page.locator(".st-key-conversation-menu button:visible").click()
    expect(person.page.get_by_role("menu")).to_be_visible()
    return found(person.page)
