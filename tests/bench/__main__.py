"""The bench command, `python -m tests.bench`, which `./naru bench` runs.

The exit code is 1 if text was lost or doubled, or if a measurement failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from deploy.embedded.processes import ROOT
from shared.interpreter import shorten_switch_interval
from shared.settings import GUEST
from tests.bench import noise, table
from tests.bench.curves import CURVES
from tests.bench.curves import run as curves
from tests.bench.figure import CannotMeasure, Figure, Size
from tests.bench.figures import FIGURES
from tests.bench.stacks import Bench
from tests.bench.table import Outcome
from tests.signed_in import WAYS

PICTURES = ROOT / "docs" / "pictures"
ABOUT = """\
Measures the figures of docs/performance.md and the alternatives to Naru, on its own servers and processes. Run nothing
else meanwhile: the bench marks each figure that it measured while the machine was too busy.
"""


def main(arguments: Sequence[str]) -> int:
    """Measure the chosen figures or curves, and print the table."""
    chosen = _parsed(arguments)
    # On SIGTERM, end our processes, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shorten_switch_interval()  # this process submits as web does
    size = Size.QUICK if chosen.quick else Size.FULL
    with tempfile.TemporaryDirectory(prefix="naru-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), size=size, auth=chosen.auth)
        try:
            return _curves(chosen, bench) if chosen.curves else _figures(chosen, bench)
        finally:
            bench.close()


def _figures(chosen: argparse.Namespace, bench: Bench) -> int:
    outcomes = []
    began, load, moment = time.monotonic(), os.getloadavg()[0], noise.look()
    for figure in FIGURES:
        if chosen.only and figure.name not in chosen.only:
            outcomes.append(Outcome(figure, missing=table.NOT_ASKED))
            continue
        bench.borrowed.clear()
        outcomes.append(_outcome(figure, bench))
        outcomes[-1].borrowed = list(bench.borrowed)
        before, moment = moment, noise.look()
        outcomes[-1].quiet = noise.between(before, moment)
    note = f"run: {bench.size.value}, {time.monotonic() - began:.0f} s; load average before {load:.1f}"
    note += f", after {os.getloadavg()[0]:.1f}\n{table.verdict(outcomes)}"
    print(table.text(outcomes, note=note))
    if chosen.json:
        chosen.json.write_text(table.as_json(outcomes, note=note) + "\n", encoding="utf-8")
    return 1 if any(each.broken for each in outcomes) else 0


def _curves(chosen: argparse.Namespace, bench: Bench) -> int:
    found = curves.run(bench, only=chosen.only or ())
    note = f"./naru bench --curves, {bench.size.value} run, {table.conditions()['machine']}"
    curves.draw(found, chosen.pictures, note=note)
    print("", *(line for drawn in found for line in curves.lines(drawn)), note, sep="\n")
    if chosen.json:
        text = json.dumps(curves.as_json(found, note=note), indent=1, ensure_ascii=False)
        chosen.json.write_text(text + "\n", encoding="utf-8")
    return 1 if any(drawn.missing for drawn in found) else 0


def _outcome(figure: Figure, bench: Bench) -> Outcome:
    outcome, began = Outcome(figure), time.monotonic()
    print(f"{figure.name} …", file=sys.stderr, flush=True)
    try:
        outcome.numbers = figure.measure(bench)
        outcome.broken = figure.broken(outcome.numbers)
    except CannotMeasure as reason:
        outcome.missing = str(reason)
    except Exception as error:  # noqa: BLE001 - a failed figure must not end the run
        traceback.print_exc()
        outcome.missing = f"{type(error).__name__}: {str(error)[:300]}"
        outcome.broken = ["the measurement failed"]
    outcome.seconds = time.monotonic() - began
    for row in outcome.rows():
        print("  ".join(row), file=sys.stderr, flush=True)
    return outcome


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    figures, drawn = [figure.name for figure in FIGURES], [curve.name for curve in CURVES]
    parser = argparse.ArgumentParser(
        prog="./naru bench", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: minutes, and less precise")
    parser.add_argument("--curves", action="store_true", help="measure and draw how costs grow instead")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help=f"only these of {', '.join(figures)}; with --curves, of {', '.join(drawn)}",
    )
    parser.add_argument(
        "--pictures", type=Path, default=PICTURES, metavar="DIR", help="where to draw curves (default: docs/pictures)"
    )
    parser.add_argument("--auth", choices=WAYS, default=GUEST, help="local: with sign-in (default: guest)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number to this file")
    chosen = parser.parse_args(arguments)
    known = drawn if chosen.curves else figures
    if unknown := [name for name in chosen.only or () if name not in known]:
        parser.error(f"unknown {'curve' if chosen.curves else 'figure'} {unknown[0]!r}; choose from {', '.join(known)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
