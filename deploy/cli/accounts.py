"""The commands of `./naru people`: accounts from the terminal, so that nobody is locked out of their own Naru."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from email.message import EmailMessage

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from deploy import terminal
from deploy.backup.locate import server_at
from deploy.backup.problem import BackupProblem
from deploy.backup.server import reason_of
from deploy.embedded.data import DataProblem, running_on
from deploy.embedded.locate import check_options
from shared import mail
from shared.errors import NaruError, NotFound
from shared.mail import MailFailed
from shared.people import Owner, accounts, factors, links, sessions
from shared.people.accounts import Person, Role
from shared.postgres.database import make_plain_engine
from shared.settings import GUEST, Settings, load_settings
from shared.words import Words


class NoInvitation(Exception):
    """There is no open invitation with this id."""


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

    @property
    def words(self) -> Words:
        """The words of a mail."""
        return Words(self.chosen.language)

    def need_mail(self, *, is_asked: bool) -> None:
        """Raise MailFailed, before anything is made, if a mail `is_asked` for and none can be sent."""
        if is_asked and not mail.is_on(self.settings):
            raise MailFailed("no mail can be sent without an SMTP server: set NARU_SMTP_HOST, or leave out --mail.")
        mail.refuse_half_settings(self.settings)

    def send(self, message: EmailMessage, email: str) -> None:
        """Send the mail. Raises MailFailed; the link above it can still be sent otherwise."""
        try:
            mail.send(self.settings, message)
        except MailFailed as error:
            raise MailFailed(f"the mail was not sent, so send the link above yourself. {error}") from error
        print(f"It is on its way to {terminal.line(email)}.")


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen command and return its exit code."""
    try:
        settings = load_settings()
        check_options(settings)
        with server_at(chosen.data, settings) as server:
            COMMANDS[chosen.command](Context(make_plain_engine(server.url), settings, chosen))
    except NotFound:
        return _complain(f"there is no account of {terminal.line(chosen.email)}. ./naru people list shows all.")
    except NoInvitation as error:
        return _complain(f"there is no open invitation {error}. ./naru people invitations shows all.")
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
    days, chosen = context.settings.invitation_days, context.chosen
    email = accounts.normal_email(chosen.mail) if chosen.mail else None
    context.need_mail(is_asked=email is not None)
    token = links.invite(context.engine, chosen.role, days=days, email=email, made_by=Owner.terminal().key)
    is_first = not accounts.has_people(context.engine)
    role = Role.ADMIN.value if is_first else chosen.role
    who = terminal.line(email) if email else "one account"
    print(f"Whoever opens this link first makes {who} with the role {role}. It is valid for {days} days:")
    print(context.address(f"/sign-up?invitation={token}"))
    if email:
        context.send(mail.invitation(context.settings, context.words, email, token), email)


def show_invitations(context: Context) -> None:
    """Print every invitation that can be used."""
    found = links.invitations(context.engine)
    if not found:
        print("There are no open invitations. ./naru people invite makes one.")
    for each in found:
        whom = f"for {terminal.line(each.email)}" if each.email else "for anybody"
        by = f"by {each.made_by}" if each.made_by else "by an earlier version"
        times = f"made {each.created_at:%Y-%m-%d %H:%M} {by}  until {each.expires_at:%Y-%m-%d %H:%M}"
        print(f"{each.id}  {each.role}  {whom}  {times}")


def withdraw(context: Context) -> None:
    """Make an invitation invalid."""
    invitation = context.chosen.invitation
    try:
        links.withdraw(context.engine, invitation)
    except NotFound:
        raise NoInvitation(terminal.line(invitation)) from None
    print(f"The invitation {terminal.line(invitation)} is withdrawn: its link makes no account any more.")


def reset(context: Context) -> None:
    """Print a link to a new password."""
    hours, person = context.settings.password_link_hours, context.person()
    context.need_mail(is_asked=context.chosen.mail)
    token = links.allow_new_password(context.engine, person.id, hours=hours)
    print(f"Whoever opens this link first sets the password of this account. It is valid for {hours} hours:")
    print(context.address(f"/new-password?link={token}"))
    if context.chosen.mail:
        context.send(mail.new_password(context.settings, context.words, person.email, token), person.email)


def reset_factor(context: Context) -> None:
    """Switch the second factor off."""
    person = context.person()
    was_on = factors.reset(context.engine, person.id)
    what = "has no second factor any more, and is signed out" if was_on else "has no second factor"
    print(f"{terminal.line(person.email)} {what}.")


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
    "invitations": show_invitations,
    "withdraw": withdraw,
    "reset": reset,
    "reset-factor": reset_factor,
    "role": give_role,
    "disable": disable,
    "enable": enable,
    "sign-out": sign_out,
}


def _complain(sentence: str) -> int:
    sys.stderr.write(f"naru people: {sentence}\n")
    return 1
