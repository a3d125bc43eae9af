"""`./naru admin`: its arguments. `operating.py` carries out the commands.

Imports the standard library only, so that the help works before anything is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

from deploy.embedded.processes import ROOT

ABOUT = """\
What the page for administrators (?page=admin) shows and does, from the terminal. It uses DATABASE_URL, or the database
in the data folder. ./naru people has the accounts.

  ./naru admin show                            the lanes, the workers, and the requests that run or wait
  ./naru admin request ID                      the timeline of one request
  ./naru admin banner --en "Down at noon"      everybody reads it at the top of the page; --clear takes it away
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    chosen = make_parser().parse_args(arguments)
    chosen.data = chosen.data.resolve()
    from deploy.cli import operating

    return operating.run(chosen)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="./naru admin", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".naru", metavar="DIR", help="data folder (default: .naru/ beside naru)"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _command(commands, "show", "list the lanes, the workers, and the requests that run or wait")
    _about(commands, "request", "print the timeline of one request")
    _about(commands, "stop", "stop a request; the person keeps the text so far")
    _about(commands, "requeue", "take a running request from its worker; another attempt answers it")
    _about(commands, "drain", "let a worker finish and end, as SIGTERM does; its supervisor may start it again")
    banner = _command(commands, "banner", "show a sentence to everybody; without a text, print the present one")
    banner.add_argument("--en", default="", metavar="TEXT", help="the sentence in English")
    banner.add_argument("--ko", default="", metavar="TEXT", help="the sentence in Korean")
    banner.add_argument("--clear", action="store_true", help="show no banner any more")
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse names it nowhere else


def _command(commands: Commands, name: str, line: str) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=line, description=line)
    made.set_defaults(command=name)
    return made


def _about(commands: Commands, name: str, line: str) -> None:
    _command(commands, name, line).add_argument("id", type=UUID, metavar="ID", help="its id, of 36 characters")
