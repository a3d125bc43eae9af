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
Accounts from the terminal. It uses DATABASE_URL, or the database in the data folder, whether Naru
runs or not. The first account needs an invitation too, and is an administrator's.

  ./naru people invite                   prints a link with which one person makes an account
  ./naru people invite --mail ada@example.org   sends it too (NARU_SMTP_HOST)
  ./naru people list                     all accounts
  ./naru people reset ada@example.org    prints a link with which the person sets a new password
  ./naru people limit ada@example.org --tokens-per-day 100000
  ./naru people usage                    what everybody used this month

ACCOUNT is an e-mail address, or the id person:… that the list shows. With company sign-in, some have no address.
"""
#: The values of shared/people/accounts.py.
ROLES = ("user", "auditor", "admin")
#: The options of `limit`, named like the fields of shared/spending/values.py, and their unit.
LIMITS = {
    "tokens_per_day": "tokens per day, prompts and answers",
    "tokens_per_month": "tokens per month",
    "money_per_month": "money per month, in NARU_CURRENCY",
    "active_questions": "questions that wait or run",
    "questions_per_minute": "questions per minute",
    "question_characters": "characters of a question",
}
#: Takes a limit away, so that the next one holds: the group's, or the setting.
UNSET = "unset"
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
    _command(commands, "groups", "list all groups, their members and limits")
    for name, line in (("join", "add the person to a group; makes the group"), ("leave", "take the person out of it")):
        _about(commands, name, line).add_argument("group", metavar="GROUP", help="the group's name")
    removed = _command(commands, "dissolve", "remove a group and its limits, but no account")
    removed.add_argument("group", metavar="GROUP", help="the group's name")
    models = _command(commands, "models", "reserve models for the members of a group; without models: for nobody")
    models.add_argument("group", metavar="GROUP", help="the group's name")
    models.add_argument("models", nargs="*", metavar="MODEL", help="provider/model; * stands for any text")
    guard = _command(commands, "guard", "what happens to a member's question with personal data")
    guard.add_argument("group", metavar="GROUP", help="the group's name")
    guard.add_argument("policy", choices=("warn", "block", "unset"), help="unset: what NARU_PERSONAL_DATA says")
    role = _command(commands, "grant", "give each member of a group at least this role; ends their sessions")
    role.add_argument("group", metavar="GROUP", help="the group's name")
    role.add_argument("role", choices=("none", *ROLES), help="what they may do; none takes it away")
    _add_limit(commands)
    usage = _command(commands, "usage", "show what everybody used in a month")
    usage.add_argument("--month", default="", metavar="YYYY-MM", help="default: this month")
    usage.add_argument("--csv", action="store_true", help="print a CSV file: one line for each person and model")
    chats = _about(commands, "move", "give all chats of the account to another one")
    chats.add_argument("to", metavar="TO", help="the account that gets them")
    issuer = _command(commands, "issuer", "company sign-in: keep the accounts after the provider's address has changed")
    issuer.add_argument("old", metavar="OLD", help="the earlier address; NARU_OIDC_ISSUER is the new one")
    return parser


def _add_limit(commands: Commands) -> None:
    line = "show or set what a person or a group may use; 0: no limit"
    limit = _command(commands, "limit", line)
    whose = limit.add_mutually_exclusive_group(required=True)
    whose.add_argument("email", nargs="?", default="", metavar="EMAIL", help="the account's e-mail address")
    whose.add_argument("--group", default="", metavar="GROUP", help="the limits of each member of this group")
    limit.add_argument("--together", action="store_true", help="with --group: the limits of all its members together")
    for name, unit in LIMITS.items():
        option = f"--{name.replace('_', '-')}"
        limit.add_argument(option, metavar="N", help=f"most {unit}; {UNSET}: what the group or the settings say")


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse names it nowhere else


def _command(commands: Commands, name: str, line: str) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=line, description=line)
    made.set_defaults(command=name, email="")
    return made


def _about(commands: Commands, name: str, line: str) -> argparse.ArgumentParser:
    made = _command(commands, name, line)
    made.add_argument("email", metavar="ACCOUNT", help="the account's e-mail address, or its id: person:…")
    return made


def _language(command: argparse.ArgumentParser) -> None:
    command.add_argument("--language", choices=LANGUAGES, default=LANGUAGES[0], help="the mail's (default: en)")
