"""A conversation of 500 messages in Chromium: the time to open it, and the run of the page after an answer.

Opening counts from the navigation's start until the document has the last message, in a browser that has visited before
(its cache has Streamlit's files). The run after an answer counts from the end of the live text until the answer is part
of the history.
"""

from __future__ import annotations

from tests.bench import filling, words
from tests.bench.asking import Asker
from tests.bench.chromium import Chromium
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.filling import Filled
from tests.bench.stacks import Bench

MESSAGES = 500
TOKENS = 60


def measure(bench: Bench) -> Numbers:
    """Open the conversation some times, then ask in it."""
    running = bench.running()
    times = bench.pick(full=15, quick=5, smoke=1)
    filled = Filled(f"history-{bench.size}", conversations=1, messages=MESSAGES, owners=1)
    with Asker(running.stack.settings) as asker:
        page = asker.page()
    filling.fill(running.stack.database_url, filled, owner=page.owner)
    conversation_id, settled = filled.conversation_id(0), []
    with Chromium() as browser:
        browser.sign_in(running.url, page.cookie)
        mark = f"end {MESSAGES}"
        first = browser.open_conversation(running.url, conversation_id, mark=mark)
        opened = [browser.open_conversation(running.url, conversation_id, mark=mark) for _ in range(times)]
        browser.wait(1.0)
        for _ in range(times):
            browser.ask(words.clocked_question(tokens=TOKENS))
            settled.append(browser.end_to_settled())
            browser.wait(0.3)
    return {**spread("open", opened, 50, 95), **spread("rerun", settled, 50, 95), "open_first": first}


FIGURE = Figure(
    name="history",
    measure=measure,
    lines=(
        Line(
            figure=f"open a conversation of {MESSAGES} messages in Chromium; the page's run after an answer in it",
            reach="≤ 1.0 s; ≤ 0.3 s",
            show=lambda n: (
                f"p50 {n['open_p50'] / 1e3:.2f} / p95 {n['open_p95'] / 1e3:.2f} s of {n['open_n']:.0f} (the very first "
                f"{n['open_first'] / 1e3:.2f}); p50 {n['rerun_p50'] / 1e3:.2f} / p95 {n['rerun_p95'] / 1e3:.2f} s"
            ),
            holds=lambda n: n["open_p50"] <= 1000 and n["rerun_p50"] <= 300,
        ),
    ),
)
