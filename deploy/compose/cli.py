"""`./naru compose`: the arguments and the help. The work is in setup.py and roll.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.compose import roll, setup
from deploy.embedded.processes import ROOT
from shared.settings import environment
from shared.vendors import ADDRESS_VARIABLES

SETUP = f"""\
Writes .env and secrets/ for docker-compose.yml. It overwrites no file and shows no secret.

It reads each key from the file that you name, else from the environment variable of the key. Without a vendor's key and
without {ADDRESS_VARIABLES} the demo model answers, and says so.
"""
ROLL = """\
Installs a new version with no failed request: builds the images, migrates, starts the new containers beside the old
ones, waits until they are healthy, then lets the old ones finish and removes them.

Set NARU_VERSION in .env first. To go back, set the old number and run the same command. If a new container does not
become healthy, the new ones are removed and the old ones go on.
"""


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments and run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="./naru compose", description="Naru in containers: docs/operations/compose.md"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_setup(commands)
    add_roll(commands)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "setup":
            return setup.set_up(options_of(chosen))
        return roll.roll(chosen.services or list(roll.SERVICES), build=chosen.build, patience_seconds=chosen.patience)
    except (setup.SetupProblem, roll.RollProblem) as error:
        print(f"naru compose: {error}", file=sys.stderr)
        return 1


def add_setup(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `./naru compose setup`."""
    made = commands.add_parser(
        "setup",
        help="write .env and secrets/",
        description=SETUP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(command="setup")
    made.add_argument(
        "--domain", default="", metavar="NAME", help="the name that people type, such as chat.example.org"
    )
    made.add_argument(
        "--email", default="", metavar="ADDRESS", help="with --domain: get a certificate from Let's Encrypt"
    )
    for option, name, words in setup.OPTIONS:
        made.add_argument(option, dest=name, type=Path, metavar="FILE", help=f"the file that holds {words}")
    made.add_argument("--into", type=Path, default=ROOT, metavar="DIR", help="folder (default: this one)")


def add_roll(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `./naru compose roll`."""
    made = commands.add_parser(
        "roll",
        help="install a new version",
        description=ROLL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(command="roll")
    made.add_argument("services", nargs="*", type=service, metavar="SERVICE", help="worker or web (default: both)")
    made.add_argument("--no-build", dest="build", action="store_false", help="use the images that exist")
    made.add_argument(
        "--patience", type=float, default=180.0, metavar="SECONDS", help="longest wait for a new container"
    )


def service(name: str) -> str:
    """Check the name of a service that can be rolled; argparse prints the error."""
    if name not in roll.SERVICES:
        raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(roll.SERVICES)}: up -d renews the others")
    return name


def options_of(chosen: argparse.Namespace) -> setup.SetupOptions:
    """Return the options of `setup`, with this process's environment."""
    return setup.SetupOptions(
        folder=chosen.into.resolve(),
        domain=chosen.domain,
        email=chosen.email,
        files={name: getattr(chosen, name) for name in setup.GIVEN},
        environ=environment(),
    )
