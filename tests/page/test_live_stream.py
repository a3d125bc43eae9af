"""The page's side of the event stream (stream.js), in Chromium: its state after events in any order.

The fault suite's users read with `tests/faults/screen.py`. A test here compares it with the browser.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.faults.screen import Screen
from tests.patience import patient_ms
from web.live.modules import HERE

pytestmark = pytest.mark.browser

FRAME = """
class EventSource {
  static CLOSED = 2;
  constructor() { this.handlers = {}; window.sources.push(this); }
  addEventListener(kind, handler) { this.handlers[kind] = handler; }
  close() {}
}
window.start = () => {
  window.sources = []; window.ends = []; window.shown = "";
  const listener = {
    changed() {},
    text: ({ reset, text }) => { window.shown = reset ? text : window.shown + text; },
    ended: (id) => window.ends.push(id),
  };
  window.stream = new AnswerStream("c", listener);
};
window.tell = (events) => events.map(([kind, data]) => {
  window.sources.at(-1).handlers[kind]({ data: JSON.stringify(data), lastEventId: "" });
  const { requestId, attempt, next, dimmed, ended } = window.stream;
  return [window.shown, requestId, attempt, next, Boolean(dimmed), Boolean(ended), window.ends.length,
    window.sources.length];
});
"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page with the module and a fake EventSource."""
    opened = browser.new_page()
    opened.set_default_timeout(patient_ms(20))
    opened.set_content('<base href="http://naru.invalid/">')
    opened.add_script_tag(content=(HERE / "stream.js").read_text().replace("export ", "") + FRAME)
    yield opened
    opened.close()


def told(page: Page, events: list[tuple[str, dict[str, Any]]]) -> list[list[Any]]:
    """Return the browser's state after each event."""
    page.evaluate("start()")
    found: list[list[Any]] = page.evaluate("(events) => tell(events)", events)
    return found


def test_live_stream_reports_an_end_without_text(page: Page) -> None:
    page.evaluate("start()")
    page.evaluate("tell([['state', {phase: 'idle', request_id: null}], ['end', {request_id: 'r', status: 'failed'}]])")
    assert page.evaluate("ends") == ["r"]
    page.evaluate("tell([['end', {request_id: 'r', status: 'failed'}]])")
    assert page.evaluate("ends") == ["r"]


def test_earlier_end_does_not_end_the_running_answer(page: Page) -> None:
    running = ("state", {"phase": "thinking", "request_id": "second", "attempt": 1})
    last = told(page, [running, ("end", {"request_id": "first", "status": "succeeded"})])[-1]
    assert last[1] == "second"
    assert last[5] is False


def test_fault_suite_screen_matches_the_browser(page: Page) -> None:
    dice = random.Random(7)
    for _ in range(60):
        events = [event_of(dice) for _ in range(40)]
        assert told(page, events) == screened(events), json.dumps(events)


def event_of(dice: random.Random) -> tuple[str, dict[str, Any]]:
    """Return a random event, likely or not, of one of two requests."""
    request, attempt, at = dice.choice("rs"), dice.randint(1, 3), dice.choice((0, 0, 1, 2, 3, 4))
    text = "abcd"[at : at + dice.randint(0, 3)]
    kind = dice.choice(("state", "delta", "delta", "delta", "snapshot", "end"))
    if kind == "end":
        return kind, {"request_id": request, "status": "succeeded"}
    if kind == "state":
        phase = dice.choice(("idle", "queued", "next", "waiting", "thinking", "streaming"))
        known = request if phase != "idle" else dice.choice((request, None))
        return kind, {"phase": phase, "request_id": known, "attempt": attempt}
    if kind == "snapshot":
        return kind, {"request_id": request, "attempt": attempt, "next": len("abcd"[:at]), "text": "abcd"[:at]}
    return kind, {"request_id": request, "attempt": attempt, "at": at, "next": at + len(text), "text": text}


def screened(events: list[tuple[str, dict[str, Any]]]) -> list[list[Any]]:
    """Return the fault suite's state after each event."""
    ends: list[dict[str, Any]] = []
    drawn: list[tuple[bool, str]] = []
    screen = Screen(shown=lambda reset, text: drawn.append((reset, text)), ended=ends.append)
    found, connections = [], 1
    for kind, data in events:
        screen.take(kind, data)
        if screen.wants_snapshot:
            screen.wants_snapshot, connections = False, connections + 1
        state = [screen.text, screen.request_id, screen.attempt, screen.next, screen.dimmed, bool(screen.ended)]
        found.append([*state, len(ends), connections])
    return found
