"""`python -m tests.deploy`, which `./naru test deploy` runs. Exits with 1 when a step fails."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.deploy import changing, keeping, looking, stand_ins
from tests.deploy.engine import NoEngine, engine
from tests.deploy.project import ComposeProject, compose_project

ABOUT = """\
Starts docker-compose.yml on a Docker engine, asks through nginx in Chromium, loses the data and restores it, scales,
kills workers, rolls to a new version under load and takes everything down again. If no engine answers, the command
starts its own (needs root, Docker and some GB).

The base images are stand-ins made from Debian's packages, for machines that cannot reach Docker Hub: versions and sizes
differ from the real ones. --real-images uses the images that docker-compose.yml names.
"""
STEPS = (
    looking.comes_up,
    looking.is_closed,
    looking.is_guarded,
    looking.is_used,
    looking.flower_is_used,
    looking.is_limited,
    keeping.is_backed_up,
    keeping.asks_for_accounts,
    changing.scales,
    changing.mends_a_wedged_worker,
    changing.rolls,
    changing.keeps_the_old_where_the_new_is_broken,
    changing.gets_a_certificate,
    changing.goes_down,
)


def main(arguments: Sequence[str]) -> int:
    """Run the steps in order until one fails; return the exit code."""
    chosen = parser().parse_args(arguments)
    # Leave through the context managers, which remove the containers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="naru-deploy-") as folder:
        try:
            with engine(chosen.engine, keep=chosen.keep) as found:
                if not chosen.real_images:
                    began = time.monotonic()
                    stand_ins.make(found)
                    say("stand-ins", began, "base images from Debian's packages, not from Docker Hub")
                with compose_project(found, Path(folder), with_stand_ins=not chosen.real_images, keep=False) as made:
                    return play(made)
        except NoEngine as error:
            print(f"naru test deploy: {error}", file=sys.stderr)
            return 1


def play(made: ComposeProject) -> int:
    """Run all steps; return the exit code."""
    for number, step in enumerate(STEPS):
        began = time.monotonic()
        try:
            say(step.__name__, began, step(made))
        except Exception as error:  # noqa: BLE001 - any error is the step's result
            print(f"FAILED  {step.__name__}: {type(error).__name__}: {error}", flush=True)
            print(made.compose("ps", check=False), made.compose("logs", "--tail=25", check=False)[-12_000:], sep="\n")
            print(f"{number} passed, 1 failed, {len(STEPS) - number - 1} skipped")
            return 1
    print(f"{len(STEPS)} passed, 0 failed")
    return 0


def say(name: str, began: float, words: str) -> None:
    """Print one line of the result."""
    print(f"ok  {name.replace('_', ' '):<40} {time.monotonic() - began:6.1f} s  {words}", flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    made = argparse.ArgumentParser(
        prog="./naru test deploy", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--real-images", action="store_true", help="pull the base images instead of making stand-ins")
    made.add_argument("--keep", action="store_true", help="keep the data of an engine started here, for the next run")
    made.add_argument(
        "--engine",
        type=Path,
        default=Path("/var/tmp/naru-engine"),
        metavar="DIR",
        help="folder of the engine started here",
    )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
