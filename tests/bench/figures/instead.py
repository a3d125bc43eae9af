"""The baselines' own lines: the alternatives to Naru, in the same run and by the same criteria."""

from __future__ import annotations

from tests.bench import baselines
from tests.bench.crowd import PACE
from tests.bench.figure import Figure, Line, Numbers
from tests.bench.textbook_chat import PROCESSES


def _show_climb(n: Numbers, name: str) -> str:
    at = f"_at_{n[f'{name}_shown']:.0f}"
    return (
        f"{n[f'{name}_carried']:.0f} at {PACE} tokens/s ({n[f'{name}_ms_per_1000']:.0f} ms of CPU for 1,000 tokens "
        f"there); gap p99 {n[f'{name}_gap_p99{at}']:.0f} ms, delay {n[f'{name}_delay_p50{at}']:.0f} / "
        f"{n[f'{name}_delay_p99{at}']:.0f} ms"
    )


def _climbed(name: str, words: str) -> Line:
    return Line(
        figure=f"baseline: answers that {words} carries on one core, no queue, nothing stored",
        reach="(no target: for comparison)",
        show=lambda n: _show_climb(n, name),
        holds=lambda _: True,
    )


FIGURE = Figure(
    name="instead",
    measure=baselines.numbers,
    lines=(
        _climbed("direct", "the vendor's SDK, typed,"),
        _climbed("hand", "reading by hand (socket, events, JSON)"),
        Line(
            figure=f"baseline: a textbook's Celery chat, prefork -c {PROCESSES}, result polled",
            reach="(no target: for comparison)",
            show=lambda n: (
                f"{n['textbook_carried']:.0f} at once; {n['textbook_ms_per_1000']:.0f} ms of CPU for 1,000 tokens; the "
                f"page has the text {n['textbook_over_p50']:.0f} ms after the provider's first word; "
                f"{n['textbook_mb']:.0f} MB"
            ),
            holds=lambda _: True,
        ),
    ),
    zero=("direct_lost", "hand_lost", "textbook_wrong_texts"),
)
