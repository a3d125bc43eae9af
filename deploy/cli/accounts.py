"""The commands of `./naru people`: accounts from the terminal, so that nobody is locked out of their own Naru."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from deploy import terminal
from deploy.backup.locate import server_at
from deploy.backup.problem import BackupProblem
from deploy.backup.server import reason_of
from deploy.embedded.data import DataProblem, running_on
from deploy.embedded.locate import check_options
from shared import audit
from shared.audit.acting import TERMINAL
from shared.errors import NaruError, NotFound
from shared.people import accounts, links, sessions
from shared.people.accounts import Person, Role
from shared.postgres.database import make_plain_engine
from shared.settings import GUEST, Settings, load_settings


class Context:
    """The database, the settings and the arguments of one command."""

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


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen command and return its exit code."""
    try:
        settings = load_settings()
        check_options(settings)
        with server_at(chosen.data, settings) as server, audit.acting(TERMINAL):
            COMMANDS[chosen.command](Context(make_plain_engine(server.url), settings, chosen))
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


COMMANDS: Mapping[str, Callable[[Context], None]] = {
    "list": show,
    "invite": make_invitation,
    "reset": reset,
    "role": give_role,
    "disable": disable,
    "enable": enable,
    "sign-out": sign_out,
}


def _complain(sentence: str) -> int:
    sys.stderr.write(f"naru people: {sentence}\n")
    return 1
