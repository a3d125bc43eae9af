"""`./naru audit`: its arguments. `events.py` carries out the commands.

Imports the standard library only, so that the help works before anything is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from deploy.embedded.processes import ROOT

ABOUT = """\
The record of events: who did what to whom and when, without a word of any chat. It uses DATABASE_URL, or the database
in the data folder, whether Naru runs or not.

  ./naru audit list                      the newest events
  ./naru audit verify                    finds a changed or missing event; the exit code is 1 then
  ./naru audit export --since 2026-11-01 JSON lines on stdout
  ./naru audit read ID --reason "…"      prints someone's chats; the person is told
"""
MOST_LISTED = 100_000


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    chosen = make_parser().parse_args(arguments)
    chosen.data = chosen.data.resolve()
    from deploy.cli import events

    return events.run(chosen)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="./naru audit", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".naru", metavar="DIR", help="data folder (default: .naru/ beside naru)"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="print the newest events")
    listed.add_argument("--last", type=_number, default=20, metavar="N", help="how many (default: 20)")
    listed.set_defaults(command="list")
    verify = commands.add_parser("verify", help="find a changed or missing event")
    verify.add_argument("--head", type=_hash, metavar="HASH", help="an event_hash of Naru's log to look for")
    verify.set_defaults(command="verify")
    export = commands.add_parser("export", help="print events as JSON lines, the oldest first")
    export.add_argument("--since", type=_moment, metavar="TIME", help="the first day or time (UTC): 2026-11-29")
    export.add_argument("--until", type=_moment, metavar="TIME", help="the day or time (UTC) before which to end")
    export.add_argument("--kind", default="", help="only this kind, such as signed_in")
    export.set_defaults(command="export")
    read = commands.add_parser("read", help="print someone's chats; the person is told")
    read.add_argument("subject", metavar="ID", help="the id of a conversation, person:ID or an e-mail address")
    read.add_argument("--reason", required=True, help="why; the person sees it")
    read.set_defaults(command="read")
    return parser


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_LISTED):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to {MOST_LISTED}")
    return int(text)


def _hash(text: str) -> str:
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a hash has 64 hexadecimal digits")
    return text.lower()


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a time; write 2026-11-29 or 2026-11-29T13:00") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
