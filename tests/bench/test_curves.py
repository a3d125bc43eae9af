"""The pure parts of the bench: exponents, pictures, the climb to the highest load, and evenness."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree as ET

import pytest

from tests.bench.climbing import Climb, climb
from tests.bench.curves.curve import Curve, Drawn, Points, exponent
from tests.bench.curves.drawing import Axis, svg
from tests.bench.curves.run import lines
from tests.bench.evenness import is_even, timing
from tests.bench.figure import Numbers

MS = 1_000_000


def curve(*, is_cost: bool = True) -> Curve:
    """Make a curve that is never measured."""
    return Curve(name="c", title="a < b & c", work="work", unit="ms", measure=lambda _: {}, is_cost=is_cost)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_exponent_matches_the_power_law(power: float) -> None:
    assert exponent([(x, 3 * x**power) for x in (1, 10, 30, 1000)]) == pytest.approx(power)


def test_exponent_skips_points_without_a_logarithm() -> None:
    assert exponent([(1, 0), (2, 4), (4, 8)]) == pytest.approx(1)
    assert exponent([(1, 0), (2, 4)]) != exponent([(1, 0), (2, 4)]), "NaN: one point has no slope"


def test_report_shows_the_end_of_a_curve() -> None:
    """A cost with a large constant part grows slowly at first."""
    points: Points = {"one": [(x, 400 + x**2) for x in (1, 2, 4, 8, 16, 32, 64, 128)]}
    drawn = Drawn(curve(), points=points)
    assert drawn.exponents()["one"] < 1 < drawn.ends()["one"]
    assert "at the end 1.9" in lines(drawn)[0]


def test_report_names_worse_than_linear_growth() -> None:
    points: Points = {"good": [(1, 1), (10, 9)], "bad": [(1, 1), (10, 90)]}
    marks = {line.split()[2].rstrip(":"): line[0] for line in lines(Drawn(curve(), points=points))}
    assert marks == {"good": "+", "bad": "-"}
    rates: Points = {"linear": [(1, 8), (2, 16)], "less": [(1, 8), (2, 10)]}
    marks = {line.split()[2].rstrip(":"): line[0] for line in lines(Drawn(curve(is_cost=False), points=rates))}
    assert marks == {"linear": "+", "less": "-"}


def test_picture_is_an_svg_with_a_line_for_each_series() -> None:
    points: Points = {"one": [(1, 0.0), (10, 2.0), (100, 30.0)], "two": [(1, 5.0), (100, 5.0)]}
    picture = ET.fromstring(svg(Drawn(curve(), points=points), note="a note"))
    said = [part.text or "" for part in picture if part.tag.endswith("text")]
    assert "a < b & c" in said
    assert "a note" in said
    assert "one" in said
    assert any(text.startswith("exponent 1.1") for text in said)
    assert sum(part.tag.endswith("polyline") for part in picture) == 2


def test_axis_ticks_are_round_and_within_range() -> None:
    assert Axis(0.9, 60.0, 0, 100).ticks() == [1, 2, 5, 10, 20, 50]
    assert Axis(1.0, 1_000_000.0, 0, 100).ticks() == [1, 10, 100, 1000, 10_000, 100_000, 1_000_000]


def found(*, gap: float) -> Numbers:
    """Make the numbers of a load with this p99 gap."""
    return {"gap_p99": gap, "delay_p50": 1, "delay_p99": 1, "window_seconds": 1, "lost": 0}


def climbed_to(limit: int, *, is_thorough: bool) -> tuple[Climb, list[int]]:
    """Climb where loads up to `limit` hold; return the climb and the loads tried."""
    tried: list[int] = []

    async def attempt(load: int) -> Numbers:
        tried.append(load)
        return found(gap=10 if load <= limit else 500)

    return asyncio.run(climb(attempt, (100, 200, 300, 400), is_thorough=is_thorough)), tried


def test_climb_stops_after_a_second_failure() -> None:
    climbed, tried = climbed_to(230, is_thorough=False)
    assert (climbed.carried, climbed.failed, climbed.shown) == (200, 300, 200)
    assert tried == [100, 200, 300, 300]


def test_climb_counts_losses_of_the_first_try() -> None:
    tries = [found(gap=10) | {"lost": 3}, found(gap=10)]

    async def attempt(_: int) -> Numbers:
        return tries.pop(0)

    climbed = asyncio.run(climb(attempt, (100,), is_thorough=False))
    assert climbed.carried == 100
    assert climbed.numbers("all")["all_lost"] == 3


def test_thorough_climb_tries_values_in_between() -> None:
    climbed, _ = climbed_to(230, is_thorough=True)
    assert 210 <= climbed.carried <= 230


def test_climb_that_never_holds_shows_the_lowest() -> None:
    climbed, _ = climbed_to(50, is_thorough=True)
    assert (climbed.carried, climbed.shown) == (0, 100)


def test_evenness_counts_delays_and_gaps() -> None:
    one = [(number * 20 * MS + 5 * MS, [number * 20 * MS]) for number in range(50)]
    late = [(number * 20 * MS + 95 * MS, [number * 20 * MS]) for number in range(50)]
    measured = timing([one, late])
    assert measured["gap_p99"] == pytest.approx(20)
    assert measured["delay_p99"] == pytest.approx(95)
    assert not is_even(measured | {"lost": 0}), "even gaps, but a median delay of 50 ms"
    assert is_even(timing([one, one]))
    assert not is_even(timing([one, one]) | {"lost": 1})
