"""The command: `python -m tests.attacks`, which `./naru test attacks` runs. Exits with 1 when a bound did not hold."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shared.migrations.__main__ import migrate
from shared.postgres.database import make_engine
from tests.attacks.catalogue import ATTACKS, Attack
from tests.attacks.run import MEMORY_BACK_SECONDS, Result, attack
from tests.bench.figure import p
from tests.stack import Servers, Stack

ABOUT = """\
Starts a web process and attacks it on loopback, while an honest person clicks, asks, presses Stop and reads.
Prints the latency of each action before, during and after the attack (p50/p99 in ms), and web's memory (MB).
"""
REST_SECONDS = 5.0


def main(arguments: Sequence[str]) -> int:
    """Run the chosen attacks; return the exit code."""
    chosen = parser().parse_args(arguments)
    broken = 0
    for one in chosen.only or ATTACKS:
        with tempfile.TemporaryDirectory(prefix="naru-attacks-") as folder:
            result = _attack(Path(folder), one, seconds=chosen.seconds)
        report(result)
        broken += bool(result.broken())
    print(f"{broken} attacks broke a bound" if broken else "every bound held")
    return 1 if broken else 0


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = argparse.ArgumentParser(
        prog="./naru test attacks", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(each.name for each in ATTACKS)
    made.add_argument("--only", type=_named, metavar="NAME,…", help=f"run only these attacks: {names}")
    made.add_argument("--seconds", type=float, default=30.0, metavar="S", help="duration of each attack (default: 30)")
    return made


def report(result: Result) -> None:
    """Print the figures of one attack."""
    outcome = result.outcome
    print(f"\n{result.attack.name}: {result.attack.about}")
    print(
        f"  attacker: opened {outcome.opened}, sent {outcome.sent}, closed {outcome.closed}, refused {outcome.refused}"
    )
    print(f"  web:      {', '.join(f'{name} {count:g}' for name, count in result.metrics.items()) or 'closed nothing'}")
    for name, phases in result.took.items():
        figures = "   ".join(f"{phase} {_pair(values)} (n={len(values)})" for phase, values in phases.items())
        print(f"  {name:<9} {figures}")
    print(f"  memory    {'   '.join(f'{name} {megabytes:.0f}' for name, megabytes in result.memory.items())}")
    print(f"  {'BROKEN: ' + '; '.join(result.broken()) if result.broken() else 'held'}", flush=True)


def _pair(values: Sequence[float]) -> str:
    return f"{1000 * p(values, 50):.0f}/{1000 * p(values, 99):.0f}" if values else "none"


def _attack(folder: Path, one: Attack, *, seconds: float) -> Result:
    servers = Servers(folder)
    stack = Stack(folder / "logs", servers.postgres_server.url, servers.redis_server.url, servers)
    try:
        migrate(servers.postgres_server.url)
        web = stack.start_web()
        engine = make_engine(stack.settings, name="attacks")
        try:
            return attack(
                stack, web, engine, one, seconds=seconds, rest=REST_SECONDS, memory_seconds=MEMORY_BACK_SECONDS
            )
        finally:
            engine.dispose()
    finally:
        stack.close()
        servers.close()


def _named(words: str) -> list[Attack]:
    known = {each.name: each for each in ATTACKS}
    names = words.split(",")
    if missing := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"not in the catalogue: {', '.join(missing)}")
    return [known[name] for name in names]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
