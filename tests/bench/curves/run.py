"""Measures the selected curves, draws them, and reports their exponents."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from tests.bench import noise, table
from tests.bench.curves import CURVES
from tests.bench.curves.curve import Curve, Drawn
from tests.bench.curves.drawing import svg
from tests.bench.stacks import Bench

#: The tolerance around an exponent of 1, because a fit to a few points is inexact.
LINEAR = 0.1


def run(bench: Bench, *, only: Sequence[str] = ()) -> list[Drawn]:
    """Measure all curves, or those in `only`, one after another."""
    found, moment, quickest = [], noise.look(), float("inf")
    for curve in CURVES:
        if only and curve.name not in only:
            continue
        print(f"{curve.name} …", file=sys.stderr, flush=True)
        found.append(_measured(curve, bench))
        before, moment = moment, noise.look()
        quiet = noise.between(before, moment)
        quickest = min(quickest, quiet.quick_loop_seconds)
        found[-1].noise = quiet.complaints(quickest=quickest)
        print(*lines(found[-1]), sep="\n", file=sys.stderr, flush=True)
    return found


def _measured(curve: Curve, bench: Bench) -> Drawn:
    try:
        return Drawn(curve, points=curve.measure(bench))
    except Exception as error:  # noqa: BLE001 - a failed curve must not end the run
        traceback.print_exc()
        return Drawn(curve, missing=f"{type(error).__name__}: {str(error)[:300]}")


def draw(found: Sequence[Drawn], folder: Path, *, note: str) -> None:
    """Draw each measured curve into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for drawn in found:
        if drawn.points:
            noisy = "; measured in noise" if drawn.noise else ""
            (folder / f"curve-{drawn.curve.name}.svg").write_text(svg(drawn, note=f"{note}{noisy}"), encoding="utf-8")


def lines(drawn: Drawn) -> list[str]:
    """Return a curve's report lines: + linear or better, - worse, ? not measured."""
    if drawn.missing:
        return [f"? {drawn.curve.name}: NOT MEASURED: {drawn.missing}"]
    said, at_end = [], drawn.ends()
    for name, slope in drawn.exponents().items():
        good = slope <= 1 + LINEAR if drawn.curve.is_cost else slope >= 1 - LINEAR
        mark = "?" if isnan(slope) else "+" if good else "-"
        ends = f"{drawn.points[name][0][1]:,.3g} → {drawn.points[name][-1][1]:,.3g} {drawn.curve.unit}"
        said.append(f"{mark} {drawn.curve.name}, {name}: exponent {slope:.2f}, at the end {at_end[name]:.2f} ({ends})")
    return said + ([f"  TOO NOISY {'; '.join(drawn.noise)}"] if drawn.noise else [])


def as_json(found: Sequence[Drawn], *, note: str) -> dict[str, Any]:
    """Return every point and exponent by name, ready for JSON."""
    curves = {
        drawn.curve.name: {
            "title": drawn.curve.title,
            "work": drawn.curve.work,
            "unit": drawn.curve.unit,
            "points": drawn.points,
            "exponents": table.finite(drawn.exponents()),
            "exponents_at_the_end": table.finite(drawn.ends()),
            "missing": drawn.missing,
            "too_noisy": drawn.noise,
        }
        for drawn in found
    }
    return {"conditions": table.conditions(), "note": note, "curves": curves}
