"""`./naru people`: accounts from the terminal, so that nobody is locked out of their own Naru.

Passwords are not among its arguments: an invitation or a link lets the person choose one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from deploy import terminal
from deploy.backup.locate import server_at
from deploy.backup.problem import BackupProblem
from deploy.backup.server import reason_of
from deploy.embedded.data import DataProblem, running_on
from deploy.embedded.locate import check_options
from deploy.embedded.processes import ROOT
from shared.errors import NaruError, NotFound
from shared.people import accounts, links, sessions
from shared.people.accounts import Person, Role
from shared.postgres.database import make_plain_engine
from shared.settings import GUEST, Settings, load_settings

ABOUT = """\
Accounts from the terminal (NARU_AUTH=local). It uses DATABASE_URL, or the database in the data folder, whether Naru
runs or not. The first account needs an invitation too, and is an administrator's.

  ./naru people invite                   prints a link with which one person makes an account
  ./naru people list                     all accounts
  ./naru people reset ada@example.org    prints a link with which the person sets a new password
"""
ROLES = tuple(role.value for role in Role)


class Context:
    """What a command works with."""

    def __init__(self, engine: Engine, settings: Settings, chosen: argparse.Namespace) -> None:
        self.engine, self.settings, self.chosen = engine, settings, chosen

    def person(self) -> Person:
        """Return the person whom the command names. Raises BadEmail and NotFound."""
        return accounts.person_with(self.engine, self.chosen.email)

    def address(self, path: str) -> str:
        """Return the address of a path on the page, or only the path if the page's address is unknown."""
        running = running_on(self.chosen.data)
        base = f"https://{self.settings.domain}" if self.settings.domain else running.url if running else ""
        return f"{base}{path}"


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    chosen = make_parser().parse_args(arguments)
    chosen.data = chosen.data.resolve()
    try:
        settings = load_settings()
        check_options(settings)
        with server_at(chosen.data, settings) as server:
            run: Callable[[Context], None] = chosen.run
            run(Context(make_plain_engine(server.url), settings, chosen))
    except NotFound:
        return _complain(f"there is no account of {terminal.line(chosen.email)}. ./naru people list shows all.")
    except psycopg2.Error as error:
        return _complain(f"Postgres failed: {reason_of(error)}")
    except SQLAlchemyError as error:
        return _complain(f"Postgres failed ({type(error).__name__}). Is Naru's newest version running? Start it once.")
    except (BackupProblem, DataProblem, NaruError) as error:
        return _complain(str(error))
    if settings.auth == GUEST:
        print("  Note: NARU_AUTH is guest, so the page asks nobody to sign in. Set NARU_AUTH=local.")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="./naru people", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".naru", metavar="DIR", help="data folder (default: .naru/ beside naru)"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _command(commands, "list", show, "list all accounts")
    invite = _command(commands, "invite", make_invitation, "print a link with which one person makes an account")
    invite.add_argument("--role", choices=ROLES, default=Role.USER.value, help="the role that it gives (default: user)")
    _about(commands, "reset", reset, "print a link with which the person sets a new password")
    role = _about(commands, "role", give_role, "give the person a role; ends all sessions of the account")
    role.add_argument("role", choices=ROLES, help="what the person may do")
    _about(commands, "disable", disable, "close the account; ends all its sessions, keeps its chats")
    _about(commands, "enable", enable, "open the account again")
    _about(commands, "sign-out", sign_out, "end all sessions of the account")
    return parser


def show(context: Context) -> None:
    """Print every account."""
    people = accounts.everyone(context.engine)
    if not people:
        print("There are no accounts yet. ./naru people invite makes the first one's invitation.")
    for each in people:
        state = "disabled" if each.is_disabled else each.role.value
        print(f"{terminal.line(each.email)}  {state}  since {each.created_at:%Y-%m-%d}  {each.owner.key}")


def make_invitation(context: Context) -> None:
    """Print the link of a new invitation."""
    days = context.settings.invitation_days
    token = links.invite(context.engine, context.chosen.role, days=days)
    is_first = not accounts.has_people(context.engine)
    role = Role.ADMIN.value if is_first else context.chosen.role
    print(f"Whoever opens this link first makes one account with the role {role}. It is valid for {days} days:")
    print(context.address(f"/sign-up?invitation={token}"))


def reset(context: Context) -> None:
    """Print a link to a new password."""
    hours = context.settings.password_link_hours
    token = links.allow_new_password(context.engine, context.person().id, hours=hours)
    print(f"Whoever opens this link first sets the password of this account. It is valid for {hours} hours:")
    print(context.address(f"/new-password?link={token}"))


def give_role(context: Context) -> None:
    """Give the role."""
    person = context.person()
    accounts.set_role(context.engine, person.id, Role(context.chosen.role))
    print(f"{terminal.line(person.email)} is {context.chosen.role} now, and has to sign in again.")


def disable(context: Context) -> None:
    """Close the account."""
    person = context.person()
    accounts.disable(context.engine, person.id)
    print(f"{terminal.line(person.email)} is disabled and signed out. Its chats are kept; ./naru erase removes them.")


def enable(context: Context) -> None:
    """Open the account."""
    person = context.person()
    accounts.enable(context.engine, person.id)
    print(f"{terminal.line(person.email)} can sign in again.")


def sign_out(context: Context) -> None:
    """End the sessions."""
    person = context.person()
    number = sessions.end_all(context.engine, person.id)
    print(f"{terminal.line(person.email)} is signed out: {number} session{'' if number == 1 else 's'} ended.")


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse names it nowhere else


def _command(commands: Commands, name: str, run: Callable[[Context], None], line: str) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=line, description=line)
    made.set_defaults(run=run, email="")
    return made


def _about(commands: Commands, name: str, run: Callable[[Context], None], line: str) -> argparse.ArgumentParser:
    made = _command(commands, name, run, line)
    made.add_argument("email", metavar="EMAIL", help="the account's e-mail address")
    return made


def _complain(sentence: str) -> int:
    sys.stderr.write(f"naru people: {sentence}\n")
    return 1
