"""The command: `python -m tests.fuzz`, which `./naru test fuzz` runs. Exits with 1 if there are findings."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.fuzz.rig import sheet
from tests.fuzz.run import Report, fuzz
from tests.page.chromium import launch

ABOUT = """\
Renders hostile Markdown in both renderers of the page, in Chromium, and reports each text that runs a script,
contacts a foreign server, restyles the page, grows without bound, or looks different while streaming and after.
Add its findings to tests/fuzz/seeds.json.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the fuzzer; return the exit code."""
    parser = argparse.ArgumentParser(prog="./naru test fuzz", description=ABOUT)
    parser.add_argument("--minutes", type=float, default=60, help="duration (default 60)")
    parser.add_argument("--seed", type=int, help="seed of an earlier run to repeat (default random)")
    chosen = parser.parse_args(arguments)
    seed = random.randrange(10**9) if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch(playwright)
        with sheet(browser, Path(folder)) as both:
            report = fuzz(both, seed=seed, seconds=chosen.minutes * 60, note=_progress)
        browser.close()
    print(f"\n{report.texts} texts, {len(report.findings)} findings")
    print(*report.findings, sep="\n\n")
    return 1 if report.findings else 0


def _progress(report: Report) -> None:
    print(f"\r{report.texts} texts, {len(report.findings)} findings", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
