"""`python -m tests.servers`, which `./naru test servers` runs. Exits with 1 if Naru makes a mistake with a server."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.patience import patient
from tests.servers.install import Missing
from tests.servers.kinds import KINDS, Kind, served
from tests.servers.running import NotReady, Running
from tests.servers.steps import STEPS, Differs

ABOUT = """\
Tries Naru's providers on servers that people really run: llama.cpp with a tiny model made on the spot, the LiteLLM
proxy, a fake from PyPI and one from npm, and Ollama if it is installed. Each is installed from PyPI or npm into a
folder of its own, listens on the loopback only, and is skipped where it is unavailable. Takes ten minutes the first
time and five after that. docs/providers.md has what the servers showed.

Each package has one exact version, but the packages that it needs are the newest that fit, and no hash is checked.
"""
STEP_SECONDS = 90.0


class Unsafe(Exception):
    """Others could change the programs in the folder; the message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Try the chosen servers; return the exit code."""
    chosen = parser().parse_args(arguments)
    end_on_signals()
    only = {name.strip().lower() for name in chosen.only.split(",") if name.strip()}
    kinds = [each for each in KINDS if not only or _base(each) in only or each.name.lower() in only]
    if not kinds:
        print(f"naru test servers: --only knows {', '.join(dict.fromkeys(map(_base, KINDS)))}", file=sys.stderr)
        return 2
    try:
        make_private(chosen.folder)
    except Unsafe as error:
        print(f"naru test servers: {error}", file=sys.stderr)
        return 2
    counts = {"ok": 0, "differs": 0, "FAULT": 0, "skipped": 0}
    with tempfile.TemporaryDirectory(prefix="running-", dir=chosen.folder) as runs:
        for kind in kinds:
            try_kind(kind, chosen.folder, Path(runs), counts, may_install=not chosen.no_install)
    print(f"{counts['ok']} passed, {counts['FAULT']} failed, {counts['skipped']} skipped")
    print(f"{counts['differs']} differ, and Naru handles it")
    return 1 if counts["FAULT"] else 0


def end_on_signals() -> None:
    """Exit on TERM and HUP through the context managers, which end the servers. `nohup` keeps its meaning."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: sys.exit(128 + received))


def make_private(folder: Path) -> None:
    """Make a folder for this user alone. Raises Unsafe for one that belongs to another or that others can write to."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise Unsafe(f"{folder} belongs to another user: choose another one with --folder")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unsafe(f"others can write to {folder}: run `chmod go-w {folder}` if you trust what is in it")


def try_kind(kind: Kind, folder: Path, runs: Path, counts: dict[str, int], *, may_install: bool) -> None:
    """Run all steps on one server, and print and count the results."""
    print(f"{kind.name} {kind.pin.version if kind.pin else ''}", flush=True)
    try:
        with served(kind, folder, runs, may_install=may_install) as running:
            for name in STEPS:
                began = time.monotonic()
                result, words = play(name, kind, running)
                counts[result] += 1
                print(f"  {result:<8} {name:<17} {time.monotonic() - began:5.1f} s  {words}", flush=True)
    except Missing as error:
        counts["skipped"] += 1
        print(f"  skipped: {error}", flush=True)
    except NotReady as error:
        counts["FAULT"] += 1
        print(f"  FAULT    start: {error}", flush=True)


def play(name: str, kind: Kind, running: Running) -> tuple[str, str]:
    """Run one step; return its result and what it showed."""

    async def limited() -> str:
        async with asyncio.timeout(patient(STEP_SECONDS)):
            return await STEPS[name](kind, running)

    try:
        return "ok", asyncio.run(limited())
    except Differs as error:
        return "differs", str(error)
    except NotReady:
        raise
    except Exception as error:  # noqa: BLE001 - any error is the step's result
        return "FAULT", f"{error}" if type(error).__name__ == "Fault" else f"{type(error).__name__}: {error}"


def _base(kind: Kind) -> str:
    return kind.name.partition(" ")[0].lower()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    made = argparse.ArgumentParser(
        prog="./naru test servers", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--only", default="", metavar="NAMES", help="some servers, as in llama.cpp,litellm")
    made.add_argument("--no-install", action="store_true", help="skip the servers that are not installed yet")
    made.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "naru-servers",
        metavar="DIR",
        help="folder of the installed servers, 2 GB; may be deleted",
    )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
