"""Users who click quickly, reload often or return from sleep: no limit on sockets ever disconnects them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.attacks.run import closed_counts
from tests.page.person import Person, newcomer
from tests.stack import Process, Stack

pytestmark = pytest.mark.browser
RELOADS = 20
#: Each round has four clicks, as fast as Chromium makes them.
ROUNDS = 10


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack among the tests."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """The web process, with a worker and the simulator behind it."""
    stack.start_simulator()
    stack.start_worker()
    return stack.start_web()


@pytest.fixture
def person(browser: Browser, web: Process) -> Iterator[Person]:
    """A user on a new page. By the end, the server must not have closed any of their sockets."""
    before = closed_counts(web)
    with newcomer(browser, web.url) as found:
        yield found.open()
        assert closed_counts(web) == before
        assert found.errors == []


def test_quick_clicks_all_arrive(person: Person) -> None:
    new = person.page.locator("a.naru-new")
    for _ in range(ROUNDS):
        for language in ("한국어", "English"):
            person.page.get_by_text(language, exact=True).click()
            new.click()
    person.ask("[[sim: tokens=5]] after all that")
    person.wait_for_end()
    expect(person.questions).to_have_count(1)


def test_double_enter_asks_once(person: Person) -> None:
    person.composer.fill("[[sim: tokens=5]] once")
    person.composer.press("Enter")
    person.composer.press("Enter")
    person.wait_for_end()
    expect(person.questions).to_have_count(1)


def test_twenty_reloads_keep_the_page(person: Person) -> None:
    person.ask("[[sim: tokens=5]] before")
    person.wait_for_end()
    for _ in range(RELOADS):
        person.page.reload(wait_until="domcontentloaded")
    person.composer.wait_for()
    expect(person.answers).to_have_count(1)
    person.ask("[[sim: tokens=5]] and after")
    person.wait_for_end(answers=2)


def test_frozen_page_resumes(person: Person) -> None:
    person.ask("[[sim: tokens=400 pace=40]] while I sleep")
    person.wait_for_text()
    devtools = person.page.context.new_cdp_session(person.page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    person.page.wait_for_timeout(3000)
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    person.wait_for_end()
    person.ask("[[sim: tokens=5]] awake")
    person.wait_for_end(answers=2)
    expect(person.questions).to_have_count(2)
