"""The switch from the live answer to Streamlit's: nothing on the page moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.page.person import Person, visitor
from tests.stack import Stack

pytestmark = pytest.mark.browser
TEXT = (
    r"Let \\(E = mc^2\\) and $\\frac{1}{2}$ be.\n\n\\[\n\\int_0^1 x^2 dx = \\frac{1}{3}\n\\]\n\n$$\nx + y\n$$\n\n"
    r"| a | b |\n| :---: | :-: |\n| 1 | $x^2$ |\n\n```python\ndef f(x):\n    return [x]\n```\n\n"
    r"- a [link](https://example.org)\n- two[^1]\n\n[^1]: A note.\n\nThe end of it."
)
#: Record every change in the height of the visible answer, live or ended.
WATCH = """() => {
  window.seen = [];
  const look = () => {
    const block = document.querySelector(".naru-block");
    const answer = document.querySelector("[class*='st-key-answer-'] [data-testid='stMarkdown']");
    const ended = answer?.querySelector("[data-testid='stMarkdownContainer']");
    const shown = block.hidden ? ended : document.querySelector(".naru-live .naru-answer");
    const next = [block.hidden ? "ended" : "live", shown?.offsetHeight ?? 0].join(" ");
    if (window.seen.at(-1) !== next) window.seen.push(next);
    requestAnimationFrame(look);
  };
  look();
}"""


@pytest.fixture
def person(browser: Browser, module_stack: Stack) -> Iterator[Person]:
    """A user on a new page."""
    module_stack.start_simulator()
    module_stack.start_worker()
    with visitor(browser, module_stack.start_web().url) as found:
        yield found.open()


def test_text_stays_where_it_is_when_an_answer_ends(person: Person) -> None:
    person.page.evaluate(WATCH)  # before the question: on a slow machine, a short answer may end before a later look
    person.ask(f'[[sim: text="{TEXT}" size=8 pace=60]]')
    person.wait_for_end()
    expect(person.answers.locator(".katex")).to_have_count(5)
    person.page.wait_for_function("() => window.seen.at(-1).startsWith('ended')")
    seen = [(phase, int(height)) for phase, height in map(str.split, person.page.evaluate("() => window.seen"))]
    live = [height for phase, height in seen if phase == "live"]
    ended = [height for phase, height in seen[seen.index(("live", live[0])) :] if phase == "ended"]
    assert ended == [live[-1]], seen
    assert person.errors == []
