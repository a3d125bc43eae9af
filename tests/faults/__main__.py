"""The command: `python -m tests.faults`, which `./naru test faults` runs. Exits with 1 if anything is wrong."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from shared.settings import GUEST
from tests.faults import identities, mixed, report, run, soak
from tests.faults.catalogue import FAULTS
from tests.faults.run import Store
from tests.signed_in import WAYS

ABOUT = """\
Injects the faults of the catalogue into the real processes and checks that nothing is lost, doubled, wrong or stuck.
Appends each shot to a JSON-lines file. To continue an interrupted run, pass --resume and the same --seed.
"""
TEXTBOOK_TIMES = 5
DOCUMENT = Path("docs/reliability.md")
#: The table is between these lines of the document.
MARKS = ("<!-- table: python -m tests.faults --report -->", "<!-- end of the table -->")


def main(arguments: Sequence[str]) -> int:
    """Run the chosen rounds; return the exit code."""
    chosen = parser().parse_args(arguments)
    # SIGTERM must run the cleanup, because a frozen process would not notice the end of its parent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    identities.use_auth(chosen.auth)
    store = Store(chosen.json)
    if chosen.report:
        return write_report(store)
    seed = chosen.seed if chosen.seed is not None else random.randrange(10**6)
    print(f"seed {seed}; results in {chosen.json}", file=sys.stderr, flush=True)
    run.note_conditions(store)
    run.keep_logs_in(chosen.json.with_suffix(".logs"))
    began = time.time()
    if chosen.minutes:
        run_mixed(chosen, store, seed=seed)
    if chosen.soak:
        run_soak(chosen, store, seed=seed)
    if chosen.textbook:
        run.textbook(store, seed=seed, times=chosen.times or TEXTBOOK_TIMES, only=chosen.only)
    elif chosen.only or not (chosen.minutes or chosen.soak):
        run_catalogue(chosen, store, seed=seed)
    print(report.text(store.results()))
    return 0 if report.is_clean(each for each in store.results() if each.get("at", 0.0) >= began - 0.1) else 1


def run_catalogue(chosen: argparse.Namespace, store: Store, *, seed: int) -> None:
    """Run the chosen faults of the catalogue, one after the other."""
    for number in chosen.only or FAULTS:
        fault = FAULTS[number]
        indices = set(range(chosen.times or fault.times))
        if chosen.resume:
            indices -= store.done(str(number), seed)
        run.run(fault, store, seed=seed, indices=sorted(indices))


def run_mixed(chosen: argparse.Namespace, store: Store, *, seed: int) -> None:
    """Run the mixed round (`--minutes`)."""
    with run.folder("mixed") as place:
        result = mixed.mixed(place / "rig", seed=seed, seconds=60 * chosen.minutes, rate=chosen.rate)
    store.add(result)
    mixed.tell(result)


def run_soak(chosen: argparse.Namespace, store: Store, *, seed: int) -> None:
    """Run the soak (`--soak`)."""
    with run.folder("soak") as place:
        result = soak.soak(place / "rig", seed=seed, seconds=60 * chosen.soak, rate=chosen.rate)
    store.add(result)
    soak.tell(result)


def write_report(store: Store) -> int:
    """Replace the table in the document; return the exit code."""
    document = DOCUMENT.read_text(encoding="utf-8")
    head, _, rest = document.partition(MARKS[0])
    _, found, tail = rest.partition(MARKS[1])
    if not found:
        print(f"{DOCUMENT} has no markers for the table", file=sys.stderr)
        return 1
    table = report.markdown(store.results())
    DOCUMENT.write_text(f"{head}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{tail}", encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = argparse.ArgumentParser(
        prog="./naru test faults", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--only", type=numbers, metavar="1,8,12", help="run only these faults of the catalogue")
    made.add_argument(
        "--times", type=int, metavar="N", help="shots per fault (default: mostly 20, fewer for slow faults)"
    )
    made.add_argument(
        "--seed", type=int, metavar="N", help="random seed (default: a random one; printed, to repeat a run)"
    )
    made.add_argument(
        "--minutes", type=float, metavar="M", help="instead, inject random faults under load for M minutes"
    )
    made.add_argument("--soak", type=float, metavar="M", help="instead, watch memory under load for M minutes")
    made.add_argument(
        "--textbook", action="store_true", help="instead, inject faults 1, 4, 8, 10, 12 into a textbook Celery chat"
    )
    made.add_argument(
        "--rate", type=float, default=3.0, metavar="N", help="visits a second with --minutes and --soak (default: 3)"
    )
    made.add_argument("--auth", choices=WAYS, default=GUEST, help="local: with sign-in (default: guest)")
    made.add_argument("--resume", action="store_true", help="skip the shots of this seed that are in the file")
    made.add_argument(
        "--json", type=Path, metavar="FILE", default=Path("faults.jsonl"), help="results (default: faults.jsonl)"
    )
    made.add_argument("--report", action="store_true", help=f"write the table of the results into {DOCUMENT}")
    return made


def numbers(words: str) -> list[int]:
    """Parse `1,8,12` as fault numbers of the catalogue."""
    found = [int(word) for word in words.split(",")]
    if missing := [number for number in found if number not in FAULTS]:
        raise argparse.ArgumentTypeError(f"not in the catalogue: {missing}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
