"""The bench still works: some figures, as small as can be. Numbers exist, nothing was lost; speed is not judged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.figure import Size
from tests.bench.figures import FIGURES
from tests.bench.stacks import Bench

SMALL = ("first-text", "burst", "cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One set of processes for all of them."""
    made = Bench(tmp_path_factory.mktemp("bench"), size=Size.SMOKE)
    yield made
    made.close()


@pytest.mark.parametrize("name", SMALL)
def test_a_small_run_measures_and_loses_nothing(bench: Bench, name: str) -> None:
    figure = next(each for each in FIGURES if each.name == name)
    numbers = figure.measure(bench)
    assert not figure.broken(numbers)
    for line in figure.lines:
        assert line.show(numbers)
        assert line.holds(numbers) in {True, False}


def test_each_figure_has_a_name_of_its_own() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
