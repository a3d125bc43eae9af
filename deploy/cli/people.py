"""`./naru people`: its arguments. `accounts.py` carries out the commands.

Passwords are not among the arguments: an invitation or a link lets the person choose one. Imports the standard library
only, so that the help works before anything is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from deploy.embedded.processes import ROOT

ABOUT = """\
Accounts from the terminal (NARU_AUTH=local). It uses DATABASE_URL, or the database in the data folder, whether Naru
runs or not. The first account needs an invitation too, and is an administrator's.

  ./naru people invite                   prints a link with which one person makes an account
  ./naru people invite --mail ada@example.org   sends it too (NARU_SMTP_HOST)
  ./naru people list                     all accounts
  ./naru people reset ada@example.org    prints a link with which the person sets a new password
"""
#: The values of shared/people/accounts.py.
ROLES = ("user", "auditor", "admin")
#: The catalogues of shared/words.
LANGUAGES = ("en", "ko")


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    chosen = make_parser().parse_args(arguments)
    chosen.data = chosen.data.resolve()
    from deploy.cli import accounts

    return accounts.run(chosen)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="./naru people", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".naru", metavar="DIR", help="data folder (default: .naru/ beside naru)"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _command(commands, "list", "list all accounts")
    invite = _command(commands, "invite", "print a link with which one person makes an account")
    invite.add_argument("--role", choices=ROLES, default=ROLES[0], help="the role that it gives (default: user)")
    invite.add_argument("--mail", default="", metavar="EMAIL", help="send it there too; only this address can use it")
    _language(invite)
    _command(commands, "invitations", "list the invitations that can still be used")
    withdraw = _command(commands, "withdraw", "make an invitation invalid")
    withdraw.add_argument("invitation", metavar="ID", help="its id: ./naru people invitations")
    reset = _about(commands, "reset", "print a link with which the person sets a new password")
    reset.add_argument("--mail", action="store_true", help="send it to the account's e-mail address too")
    _language(reset)
    _about(commands, "reset-factor", "switch the second factor off; ends all sessions of the account")
    role = _about(commands, "role", "give the person a role; ends all sessions of the account")
    role.add_argument("role", choices=ROLES, help="what the person may do")
    _about(commands, "disable", "close the account; ends all its sessions, keeps its chats")
    _about(commands, "enable", "open the account again")
    _about(commands, "sign-out", "end all sessions of the account")
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse names it nowhere else


def _command(commands: Commands, name: str, line: str) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=line, description=line)
    made.set_defaults(command=name, email="")
    return made


def _about(commands: Commands, name: str, line: str) -> argparse.ArgumentParser:
    made = _command(commands, name, line)
    made.add_argument("email", metavar="EMAIL", help="the account's e-mail address")
    return made


def _language(command: argparse.ArgumentParser) -> None:
    command.add_argument("--language", choices=LANGUAGES, default=LANGUAGES[0], help="the mail's (default: en)")
