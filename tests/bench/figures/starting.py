"""The time from a fresh clone to a ready page, with uv; and of the second start on the same data.

The clone has the committed files. Time counts from `./naru up` to its line "Naru is ready": with an empty uv cache, so
all packages come over the network; then in the same clone without its environment and data, with a full cache.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.bench.figure import CannotMeasure, Figure, Line, Numbers, Size, p
from tests.bench.launching import clone, up
from tests.bench.stacks import Bench


def measure(bench: Bench) -> Numbers:
    """Clone once; start with an empty cache, with a full one, and again."""
    if shutil.which("uv") is None:
        raise CannotMeasure("uv is not installed")
    bench.rest()
    place = bench.folder / "clone"
    clone(place)
    numbers: Numbers = {}
    if bench.size is Size.FULL:
        numbers["first_seconds"] = _start(place, bench.folder / "first", cache=bench.folder / "uv-cache")
        shutil.rmtree(place / ".naru-env")
        cache: Path | None = bench.folder / "uv-cache"
    else:
        cache = None  # uv's default cache, whatever it holds
    numbers["first_seconds_cache_full"] = _start(place, bench.folder / "second", cache=cache)
    again = [_start(place, bench.folder / "second", cache=cache) for _ in range(bench.pick(full=3, quick=2, smoke=1))]
    return {**numbers, "second_seconds": p(again, 50), "second_seconds_max": max(again)}


def _start(place: Path, folder: Path, *, cache: Path | None) -> float:
    environ = {"UV_CACHE_DIR": str(cache)} if cache else {}
    with up(folder, command=(str(place / "naru"),), cwd=place, PYTHONPATH="", **environ) as ready:
        return ready.ready_seconds


def _show_first(n: Numbers) -> str:
    cold = f"{n['first_seconds']:.1f} s" if "first_seconds" in n else "not measured with an empty cache (--quick)"
    return f"{cold}; {n['first_seconds_cache_full']:.1f} s when uv's cache is full"


FIGURE = Figure(
    name="starting",
    measure=measure,
    lines=(
        Line(
            figure="fresh clone to a ready page, with uv",
            reach="≤ 40 s",
            show=_show_first,
            holds=lambda n: n.get("first_seconds", n["first_seconds_cache_full"]) <= 40,
        ),
        Line(
            figure="second start",
            reach="≤ 6 s",
            show=lambda n: f"p50 {n['second_seconds']:.1f} / max {n['second_seconds_max']:.1f} s",
            holds=lambda n: n["second_seconds"] <= 6,
        ),
    ),
)
