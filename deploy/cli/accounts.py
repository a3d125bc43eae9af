"""The commands of `./naru people`: accounts from the terminal, so that nobody is locked out of their own Naru."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from deploy import terminal
from deploy.cli import limits
from deploy.cli.in_database import FAILURES, database_at, sentence_of
from deploy.cli.people_command import Context
from shared import mail
from shared.errors import NotFound
from shared.people import Owner, accounts, factors, identities, links, sessions, taking_over
from shared.people.accounts import Role
from shared.people.refusals import NoPassword
from shared.settings import GUEST


class NoInvitation(Exception):
    """There is no open invitation with this id."""


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen command and return its exit code."""
    try:
        with database_at(chosen.data) as (engine, settings):
            COMMANDS[chosen.command](Context(engine, settings, chosen))
    except (NoInvitation, *FAILURES) as error:
        return _complain(_sentence(error, chosen))
    if settings.auth == GUEST:
        print("  Note: NARU_AUTH is guest, so the page asks nobody to sign in. Set NARU_AUTH=local.")
    elif not settings.has_passwords and chosen.command in ("invite", "reset"):
        print("  Note: NARU_AUTH is oidc, so nobody can use the link. Set NARU_AUTH=local+oidc, or disregard it.")
    return 0


def _sentence(error: Exception, chosen: argparse.Namespace) -> str:
    """Say what went wrong, and what to do."""
    if isinstance(error, NotFound):
        named = " or ".join(filter(None, (chosen.email, getattr(chosen, "to", ""))))
        if not named:
            return f"there is no group {terminal.line(chosen.group)}. ./naru people groups shows all."
        return f"there is no account of {terminal.line(named)}. ./naru people list shows all."
    if isinstance(error, NoInvitation):
        return f"there is no open invitation {error}. ./naru people invitations shows all."
    return sentence_of(error)


def show(context: Context) -> None:
    """Print every account."""
    if not accounts.has_people(context.engine):
        print("There are no accounts yet. ./naru people invite makes the first one's invitation.")
    for each in accounts.streamed(context.engine):
        state = "disabled" if each.is_disabled else each.role.value
        how = "" if each.password_hash is not None else "  company sign-in"
        print(f"{terminal.line(each.shown)}  {state}  since {each.created_at:%Y-%m-%d}  {each.owner.key}{how}")


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
    """Print a link to a new password. Raises NoPassword."""
    hours, person = context.settings.password_link_hours, context.person()
    if person.password_hash is None:
        raise NoPassword
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
    "invitations": show_invitations,
    "withdraw": withdraw,
    "reset": reset,
    "reset-factor": reset_factor,
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
