"""The bench still works: the parts that run in seconds, at the smallest size. They return numbers and lose nothing;
speed is not judged. The parts share one set of processes; those that end it come last."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
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

SMALL = ("first-text", "arriving", "burst", "cpu", "submits", "viewers", "shards", "short", "rows", "pages")
TOKENS = 15


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Yield a bench with one set of processes for all tests."""
    made = Bench(tmp_path_factory.mktemp("bench"), size=Size.SMOKE)
    yield made
    made.close()


def test_baseline_reads_everything_the_provider_sends(bench: Bench) -> None:
    """Reading by hand must yield every token, as the SDK does."""
    running = bench.running()

    async def read() -> int:
        async with direct_call(running.stack, running.simulator.url, by="hand") as call:
            found = await call.ask([words.clocked_question(tokens=TOKENS, first_seconds=0.05)] * 2)
        assert found.timing["delay_p50"] >= 0
        return found.tokens

    assert uvloop.run(read()) == 2 * TOKENS


@pytest.mark.parametrize("name", SMALL)
def test_small_run_measures_and_loses_nothing(bench: Bench, name: str) -> None:
    figure = next(each for each in FIGURES if each.name == name)
    numbers = figure.measure(bench)
    assert not figure.broken(numbers)
    assert set(figure.zero) <= set(numbers), "every number in `zero` is measured"
    for line in figure.lines:
        assert line.show(numbers)
        assert line.holds(numbers) in {True, False}
    assert all(math.isfinite(value) for value in numbers.values())


def test_bench_measures_and_draws_a_small_curve(bench: Bench) -> None:
    curve = next(each for each in CURVES if each.name == "table-rows")
    drawn = Drawn(curve, points=curve.measure(bench))
    assert all(math.isfinite(slope) for slope in drawn.exponents().values())
    picture = ET.fromstring(svg(drawn, note="small"))
    assert sum(part.tag.endswith("polyline") for part in picture) == len(drawn.points)


def test_figures_and_curves_have_unique_names() -> None:
    names = [figure.name for figure in FIGURES] + [curve.name for curve in CURVES]
    assert len(set(names)) == len(names)


def test_bench_measures_with_sign_in(tmp_path: Path) -> None:
    """Every browser has an account and a session; the web process refuses all others."""
    made = Bench(tmp_path, size=Size.SMOKE, auth="local")
    try:
        figure = next(each for each in FIGURES if each.name == "first-text")
        assert not figure.broken(figure.measure(made))
        assert made.running().stack.settings.auth == "local"
    finally:
        made.close()
