"""The bench still works: what can run in seconds, as small as can be. Numbers exist, nothing was lost; speed is not
judged. All on one set of processes; what ends it (a database of its own) comes last."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest
import uvloop

from tests.bench import words
from tests.bench.curves import CURVES
from tests.bench.curves.curve import Drawn
from tests.bench.curves.drawing import svg
from tests.bench.direct_call import direct_call
from tests.bench.figure import Size
from tests.bench.figures import FIGURES
from tests.bench.stacks import Bench

SMALL = ("first-text", "arriving", "burst", "cpu", "submits", "viewers", "short", "rows", "pages")
TOKENS = 15


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One set of processes for all of them."""
    made = Bench(tmp_path_factory.mktemp("bench"), size=Size.SMOKE)
    yield made
    made.close()


def test_a_baseline_reads_what_the_provider_sends(bench: Bench) -> None:
    """Reading by hand is held to the same answers as the SDK."""
    running = bench.running()

    async def read() -> int:
        async with direct_call(running.stack, running.simulator.url, by="hand") as call:
            found = await call.ask([words.clocked_question(tokens=TOKENS, first_seconds=0.05)] * 2)
        assert found.timing["delay_p50"] >= 0
        return found.tokens

    assert uvloop.run(read()) == 2 * TOKENS


@pytest.mark.parametrize("name", SMALL)
def test_a_small_run_measures_and_loses_nothing(bench: Bench, name: str) -> None:
    figure = next(each for each in FIGURES if each.name == name)
    numbers = figure.measure(bench)
    assert not figure.broken(numbers)
    assert set(figure.zero) <= set(numbers), "what may not be lost is counted"
    for line in figure.lines:
        assert line.show(numbers)
        assert line.holds(numbers) in {True, False}
    assert all(math.isfinite(value) for value in numbers.values())


def test_a_small_curve_is_measured_and_drawn(bench: Bench) -> None:
    curve = next(each for each in CURVES if each.name == "table-rows")
    drawn = Drawn(curve, points=curve.measure(bench))
    assert all(math.isfinite(slope) for slope in drawn.exponents().values())
    picture = ET.fromstring(svg(drawn, note="small"))
    assert sum(part.tag.endswith("polyline") for part in picture) == len(drawn.points)


def test_figures_and_curves_have_unique_names() -> None:
    names = [figure.name for figure in FIGURES] + [curve.name for curve in CURVES]
    assert len(set(names)) == len(names)
