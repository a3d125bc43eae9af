"""The command: `python -m tests.bench [--quick] [--only NAME …] [--json FILE]`. Exit code 1 when something was lost."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from shared.interpreter import take_turns
from tests.bench import table
from tests.bench.figure import CannotMeasure, Figure, Size
from tests.bench.figures import FIGURES
from tests.bench.stacks import Bench
from tests.bench.table import Outcome


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for, print the table."""
    chosen = _parser().parse_args(arguments)
    take_turns()  # this process submits as web does
    size = Size.QUICK if chosen.quick else Size.FULL
    outcomes = []
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="naru-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), size=size)
        try:
            for figure in FIGURES:
                if chosen.only and figure.name not in chosen.only:
                    outcomes.append(Outcome(figure, missing="not asked for (--only)"))
                else:
                    outcomes.append(_outcome(figure, bench))
        finally:
            bench.close()
    note = f"run: {size.value}, {time.monotonic() - began:.0f} s; load average before {load:.1f}"
    note += f", after {os.getloadavg()[0]:.1f}"
    print(table.text(outcomes, note=note))
    if chosen.json:
        chosen.json.write_text(table.as_json(outcomes, note=note) + "\n")
    return 1 if any(each.broken for each in outcomes) else 0


def _outcome(figure: Figure, bench: Bench) -> Outcome:
    outcome, began = Outcome(figure), time.monotonic()
    print(f"{figure.name} …", file=sys.stderr, flush=True)
    try:
        outcome.numbers = figure.measure(bench)
        outcome.broken = figure.broken(outcome.numbers)
    except CannotMeasure as reason:
        outcome.missing = str(reason)
    except Exception as error:  # noqa: BLE001 - one figure that breaks must not take the others with it
        traceback.print_exc()
        outcome.missing = f"{type(error).__name__}: {str(error)[:300]}"
        outcome.broken = ["it broke off"]
    outcome.seconds = time.monotonic() - began
    for row in outcome.rows():
        print("  ".join(row), file=sys.stderr, flush=True)
    return outcome


def _parser() -> argparse.ArgumentParser:
    names = [figure.name for figure in FIGURES]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures the figures to reach.")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: minutes, and less sure")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
