"""A first visit in Chromium, on loopback and at 1.6 Mbit/s, and a second one: bytes, requests, and the time to ask.

Both times count from the navigation's start: until one can type text that stays (in the skeleton's field), and until
Streamlit's own composer appears, which sends it. Each first visit has a new browser profile. Bytes are counted on the
wire, headers included, until the page is idle.
"""

from __future__ import annotations

from tests.bench.chromium import Chromium
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.stacks import Bench
from tests.bench.visiting import Visit, visit

KINDS = ("script", "font", "stylesheet", "document")


def measure(bench: Bench) -> Numbers:
    """Measure some visits of each kind, with a new profile for each first visit."""
    url = bench.running().url
    times = bench.pick(full=15, quick=5, smoke=1)
    first: list[Visit] = []
    again: list[Visit] = []
    slow: list[Visit] = []
    with Chromium() as browser:
        for number in range(-1, times):
            with browser.profile() as profile:
                visits = [visit(profile, url) for _ in range(2)]
                if number >= 0:  # the first profile warms up the page's process
                    first.append(visits[0])
                    again.append(visits[1])
        for _ in range(bench.pick(full=5, quick=2, smoke=1)):
            with browser.profile() as profile:
                slow.append(visit(profile, url, is_slow=True))
    numbers = first[-1].numbers() | {"bytes_again": float(again[-1].bytes)}
    for name, visits in (("first", first), ("again", again), ("slow", slow)):
        numbers |= spread(f"{name}_typing", [each.typing for each in visits], 50, 95)
        numbers |= spread(f"{name}_composer", [each.composer for each in visits], 50, 95)
    return numbers


def _seconds(numbers: Numbers, name: str) -> str:
    typing, composer = (numbers[f"{name}_{what}_p50"] / 1e3 for what in ("typing", "composer"))
    return f"{typing:.2f} / {composer:.2f} s"


FIGURE = Figure(
    name="visit",
    measure=measure,
    lines=(
        Line(
            figure="first visit: over the wire until the page is at rest",
            reach="≤ 1.6 MB",
            show=lambda n: (
                f"{n['bytes'] / 1e6:.2f} MB in {n['requests']:.0f} requests ("
                + ", ".join(f"{kind} {n.get(f'bytes_{kind}', 0) / 1e3:.0f}" for kind in KINDS)
                + f" kB); the second {n['bytes_again'] / 1e3:.0f} kB"
            ),
            holds=lambda n: n["bytes"] <= 1.6e6,
        ),
        Line(
            figure="… until one can type / until it can be sent; at 1.6 Mbit/s; the second visit",
            reach="≤ 1.5 s; ≤ 6 s; ≤ 0.8 s",
            show=lambda n: (
                f"p50 {_seconds(n, 'first')} of {n['first_typing_n']:.0f}; {_seconds(n, 'slow')} "
                f"of {n['slow_typing_n']:.0f}; {_seconds(n, 'again')}"
            ),
            holds=lambda n: (
                n["first_composer_p50"] <= 1500 and n["slow_composer_p50"] <= 6000 and n["again_composer_p50"] <= 800
            ),
        ),
    ),
)
