"""Reading in Chromium: earlier messages load at the top, and the visible text does not move."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import text

from shared.postgres.database import make_engine
from tests.page.person import Person, newcomer
from tests.page.pictures import fill
from tests.page.test_walks import SLOW
from tests.patience import patient_ms
from tests.stack import WIDE_LIMITS, Stack, wait_until

pytestmark = pytest.mark.browser
#: Record after each frame the position of the question that was the first at the start.
WATCH = """() => {
  const [first] = document.querySelectorAll(".naru-question");
  const words = first.textContent;
  window.places = [];
  const look = () => {
    const found = [...document.querySelectorAll(".naru-question")].find((each) => each.textContent === words);
    if (found) window.places.push(Math.round(found.getBoundingClientRect().y));
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = look;
      port2.postMessage(0);
    });
  };
  look();
}"""


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack among the tests."""
    return module_stack


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    """The page's address, with a worker and the simulator behind it."""
    stack.start_simulator()
    stack.start_worker()
    return stack.start_web(**WIDE_LIMITS).url


@pytest.fixture
def person(browser: Browser, url: str) -> Iterator[Person]:
    """A user on a new page."""
    with newcomer(browser, url) as found:
        yield found.open()
        assert found.errors == []


def open_long(stack: Stack, person: Person, *, messages: int) -> None:
    """Open a conversation of this many messages, and wait for the last ones."""
    person.ask("[[sim: tokens=5]] x")
    person.wait_for_end()
    engine = make_engine(stack.settings, name="test")
    with engine.connect() as connection:
        chosen = text("SELECT owner_id FROM conversation WHERE id = :id")
        owner_id = connection.execute(chosen, {"id": person.page.url.partition("?c=")[2]}).scalar_one()
    person.open(f"/?c={fill(engine, owner_id=owner_id, messages=messages)}")
    engine.dispose()
    expect(person.answers).to_have_count(15)
    main = person.page.get_by_test_id("stMain")
    wait_until(
        lambda: main.evaluate("main => main.scrollHeight - main.scrollTop - main.clientHeight") < 60,
        what="the view is at the end",
    )


def still(person: Person) -> list[int]:
    """Return the watched question's positions in the last 20 frames; an empty list while it moves."""
    places: list[int] = person.page.evaluate("() => window.places.slice(-20)")
    return places if len(set(places)) == 1 else []


def test_scrolling_to_the_top_loads_earlier_messages(stack: Stack, person: Person) -> None:
    open_long(stack, person, messages=100)
    person.page.wait_for_timeout(1000)  # nothing loads by itself
    expect(person.answers).to_have_count(15)
    person.page.evaluate(WATCH)
    person.page.mouse.move(640, 300)
    for answers in (30, 50):
        person.page.mouse.wheel(0, -30_000)
        expect(person.answers).to_have_count(answers, timeout=patient_ms(15))
        if answers == 30:
            person.page.wait_for_timeout(1000)
            places = wait_until(partial(still, person), what="the visible text keeps its place")
            assert places[0] >= 0, "the text is still in view"
    person.page.mouse.wheel(0, -60_000)
    expect(person.questions.first).to_contain_text("Question 0?")
    expect(person.page.locator(".st-key-earlier")).to_have_count(0)


def test_asking_shows_the_last_messages_again(stack: Stack, person: Person) -> None:
    open_long(stack, person, messages=100)
    person.page.get_by_role("button", name="Show earlier messages").click()
    expect(person.answers).to_have_count(30)
    person.ask("[[sim: tokens=5]] and now")
    expect(person.questions.last).to_contain_text("and now")
    expect(person.answers).to_have_count(15, timeout=patient_ms(15))


def test_pill_is_centred_and_disappears_when_the_answer_ends(person: Person) -> None:
    person.ask(SLOW + "scroll")
    person.wait_for_text(characters=1800)
    person.page.mouse.move(640, 400)
    person.page.mouse.wheel(0, -5000)
    pill = person.page.locator(".naru-newer")
    expect(pill).to_be_visible()
    here, column = pill.bounding_box(), person.live.bounding_box()
    assert here is not None
    assert column is not None
    assert abs(here["x"] + here["width"] / 2 - column["x"] - column["width"] / 2) <= 2
    person.composer.press("Escape")
    expect(person.page.locator(".naru-remark")).to_be_visible()
    expect(pill).to_be_hidden()
    person.page.wait_for_timeout(500)
    expect(pill).to_be_hidden()
