"""Enter → first text in the page, in Chromium, minus the provider's own time to first token.

The page itself records both ends: the key press, and the DOM change that brings the first new text. (Each token holds
its sending time, so an old answer is not mistaken for it.) Every few questions, a new conversation begins.
"""

from __future__ import annotations

from tests.bench import words
from tests.bench.chromium import Chromium
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.stacks import Bench

TOKENS = 20
PER_CONVERSATION = 5


def measure(bench: Bench) -> Numbers:
    """Ask some questions, one after another."""
    running = bench.running()
    over = []
    with Chromium() as browser:
        for number in range(-1, bench.pick(full=30, quick=10, smoke=2)):
            if number < 0 or number % PER_CONVERSATION == 0:
                browser.open(running.url)
            browser.ask(words.clocked_question(tokens=TOKENS))
            took = browser.enter_to_text()
            call = running.journal.last()
            if number >= 0:  # the first question warms up the page's process
                over.append(took - (call["first"] - call["start"]) * 1e3)
            browser.wait_for_end()
    return spread("over", over, 50, 95)


FIGURE = Figure(
    name="page",
    measure=measure,
    lines=(
        Line(
            figure="Enter → first text in the page, in Chromium, over the provider's own time to first token",
            reach="p50 ≤ 100 ms, p95 ≤ 150 ms",
            show=lambda n: f"p50 {n['over_p50']:.0f} / p95 {n['over_p95']:.0f} ms of {n['over_n']:.0f} questions",
            holds=lambda n: n["over_p50"] <= 100 and n["over_p95"] <= 150,
        ),
    ),
)
