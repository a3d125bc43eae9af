"""The commands of `./naru people`: accounts from the terminal, so that nobody is locked out of their own Naru."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

import psycopg2
from sqlalchemy.exc import SQLAlchemyError

from deploy import terminal
from deploy.backup.locate import server_at
from deploy.backup.problem import BackupProblem
from deploy.backup.server import reason_of
from deploy.cli import limits
from deploy.cli.people_command import Context
from deploy.embedded.data import DataProblem
from deploy.embedded.locate import check_options
from shared import audit
from shared.audit.acting import TERMINAL
from shared.errors import NaruError, NotFound
from shared.people import accounts, identities, links, sessions, taking_over
from shared.people.accounts import Role
from shared.people.refusals import NoPassword
from shared.postgres.database import make_plain_engine
from shared.settings import GUEST, load_settings


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen command and return its exit code."""
    try:
        settings = load_settings()
        check_options(settings)
        with server_at(chosen.data, settings) as server, audit.acting(TERMINAL):
            COMMANDS[chosen.command](Context(make_plain_engine(server.url), settings, chosen))
    except NotFound:
        if not chosen.email:
            return _complain(f"there is no group {terminal.line(chosen.group)}. ./naru people groups shows all.")
        named = " or ".join(filter(None, (chosen.email, getattr(chosen, "to", ""))))
        return _complain(f"there is no account of {terminal.line(named)}. ./naru people list shows all.")
    except psycopg2.Error as error:
        return _complain(f"Postgres failed: {reason_of(error)}")
    except SQLAlchemyError as error:
        return _complain(f"Postgres failed ({type(error).__name__}). Is Naru's newest version running? Start it once.")
    except (BackupProblem, DataProblem, NaruError) as error:
        return _complain(str(error))
    if settings.auth == GUEST:
        print("  Note: NARU_AUTH is guest, so the page asks nobody to sign in. Set NARU_AUTH=local.")
    elif not settings.has_passwords and chosen.command in ("invite", "reset"):
        print("  Note: NARU_AUTH is oidc, so nobody can use the link. Set NARU_AUTH=local+oidc, or disregard it.")
    return 0


def show(context: Context) -> None:
    """Print every account."""
    people = accounts.everyone(context.engine)
    if not people:
        print("There are no accounts yet. ./naru people invite makes the first one's invitation.")
    for each in people:
        state = "disabled" if each.is_disabled else each.role.value
        how = "" if each.password_hash is not None else "  company sign-in"
        print(f"{terminal.line(each.shown)}  {state}  since {each.created_at:%Y-%m-%d}  {each.owner.key}{how}")


def make_invitation(context: Context) -> None:
    """Print the link of a new invitation."""
    days = context.settings.invitation_days
    token = links.invite(context.engine, context.chosen.role, days=days)
    is_first = not accounts.has_people(context.engine)
    role = Role.ADMIN.value if is_first else context.chosen.role
    print(f"Whoever opens this link first makes one account with the role {role}. It is valid for {days} days:")
    print(context.address(f"/sign-up?invitation={token}"))


def reset(context: Context) -> None:
    """Print a link to a new password. Raises NoPassword."""
    hours = context.settings.password_link_hours
    person = context.person()
    if person.password_hash is None:
        raise NoPassword
    token = links.allow_new_password(context.engine, person.id, hours=hours)
    print(f"Whoever opens this link first sets the password of this account. It is valid for {hours} hours:")
    print(context.address(f"/new-password?link={token}"))


def give_role(context: Context) -> None:
    """Give the role."""
    person = context.person()
    accounts.set_role(context.engine, person.id, Role(context.chosen.role))
    print(f"{terminal.line(person.shown)} is {context.chosen.role} now, and has to sign in again.")
    if person.password_hash is None:
        print("  Note: if NARU_OIDC_ROLES names this role or the earlier one, the groups decide at the next sign-in.")


def disable(context: Context) -> None:
    """Close the account."""
    person = context.person()
    accounts.disable(context.engine, person.id)
    print(f"{terminal.line(person.shown)} is disabled and signed out. Its chats are kept; ./naru erase removes them.")


def enable(context: Context) -> None:
    """Open the account."""
    person = context.person()
    accounts.enable(context.engine, person.id)
    print(f"{terminal.line(person.shown)} can sign in again.")


def sign_out(context: Context) -> None:
    """End the sessions."""
    person = context.person()
    number = sessions.end_all(context.engine, person.id)
    print(f"{terminal.line(person.shown)} is signed out: {number} session{'' if number == 1 else 's'} ended.")


def move_chats(context: Context) -> None:
    """Give the chats of an account to another one."""
    giver, taker = context.person(), accounts.person_with(context.engine, context.chosen.to)
    number = taking_over.take_over(context.engine, guest=giver.owner, person=taker.owner)
    print(f"Moved from {giver.owner.key} to {taker.owner.key}: {number} chat{'' if number == 1 else 's'}.")


def move_issuer(context: Context) -> None:
    """Give the accounts of an issuer to NARU_OIDC_ISSUER."""
    context.settings.need("oidc_issuer")
    old, new = context.chosen.old, context.settings.oidc_issuer
    known = identities.issuers(context.engine)
    if old not in known or old == new:
        others = [f"{terminal.line(each)} ({number})" for each, number in known.items() if each != new]
        print(f"No account belongs to {terminal.line(old)}, or it is NARU_OIDC_ISSUER already.")
        print(f"Other issuers with accounts: {', '.join(others) or 'none'}.")
        return
    moved, left = identities.move(context.engine, old=old, new=new)
    print(f"Moved from {terminal.line(old)} to {terminal.line(new)}: {moved} account{'' if moved == 1 else 's'}.")
    if left:
        print(f"  {left} stayed: the new issuer has signed in the same people already, who have new accounts there.")


COMMANDS: Mapping[str, Callable[[Context], None]] = {
    "list": show,
    "invite": make_invitation,
    "reset": reset,
    "role": give_role,
    "disable": disable,
    "enable": enable,
    "sign-out": sign_out,
    **limits.COMMANDS,
    "move": move_chats,
    "issuer": move_issuer,
}


def _complain(sentence: str) -> int:
    sys.stderr.write(f"naru people: {sentence}\n")
    return 1
