"""The commands of `./naru audit`: list, verify and export the record of events, and read someone's chats."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from datetime import UTC
from uuid import UUID

from sqlalchemy import Engine, select

from deploy import terminal
from deploy.cli.in_database import FAILURES, database_at, sentence_of
from deploy.embedded.data import secrets_in
from shared import audit
from shared.audit import Kind
from shared.audit.chain import Broken
from shared.audit.events import Event, Filter, everything, newest
from shared.audit.kinds import LONGEST_REASON
from shared.audit.marks import Forged
from shared.audit.record import printable
from shared.audit.verify import HeadMissing, verify
from shared.conversations import exported_conversations, exported_messages
from shared.errors import NotFound
from shared.people import Owner, accounts
from shared.postgres.database import transaction
from shared.settings import Settings
from shared.tables import conversation

UNKNOWN = "there is no such chat or person. An ID is a chat's, from its address, or person:ID (./naru people list)"
UNPROVED = (
    "The seal was not checked, because NARU_SECRET_KEY is not here. See docs/operations/audit.md#the-seal for how."
)


class Problem(Exception):
    """A command cannot be carried out; the message says what to do."""


class Context:
    """The database, the settings and the arguments of one command."""

    def __init__(self, engine: Engine, settings: Settings, chosen: argparse.Namespace) -> None:
        self.engine, self.settings, self.chosen = engine, settings, chosen

    @property
    def secret_key(self) -> str:
        """NARU_SECRET_KEY, or the key in the data folder."""
        kept = None if self.settings.secret_key else secrets_in(self.chosen.data)
        return kept.secret_key if kept else self.settings.secret_key


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen command and return its exit code."""
    try:
        with database_at(chosen.data) as (engine, settings):
            COMMANDS[chosen.command](Context(engine, settings, chosen))
    except (Broken, Forged, HeadMissing, Problem, *FAILURES) as error:
        sys.stderr.write(f"naru audit: {_sentence(error)}\n")
        return 1
    return 0


def _sentence(error: Exception) -> str:
    if isinstance(error, Broken | Forged):
        return f"BROKEN: {error}. See docs/operations/audit.md#a-broken-chain"
    if isinstance(error, HeadMissing):
        return "the chain is unbroken, but no event has this hash: the newest were cut off, or it is too old"
    return UNKNOWN if isinstance(error, NotFound) else terminal.line(sentence_of(error))


def show(context: Context) -> None:
    """Print the newest events, the newest last."""
    for event in reversed(newest(context.engine, Filter(), most=context.chosen.last)):
        print(_line(event))


def check(context: Context) -> None:
    """Verify the chain."""
    found = verify(context.engine, secret_key=context.secret_key, head=context.chosen.head or "")
    if not found.last:
        print("There are no events yet.")
        return
    print(f"{found.events} events, {found.first} to {found.last}: unbroken. The newest hash is {found.head}")
    if found.sealed and found.is_proved:
        print(f"The seal fits: web sealed the events up to {found.sealed} with its key.")
    else:
        print(UNPROVED if found.sealed else "Nothing is sealed yet: a running web process seals within a minute.")


def export(context: Context) -> None:
    """Print events as JSON lines."""
    chosen = context.chosen
    if chosen.kind and chosen.kind not in set(Kind):
        raise Problem(f"there is no kind {chosen.kind}. Kinds: {', '.join(Kind)}")
    with transaction(context.engine) as connection:
        audit.record(connection, Kind.RECORD_EXPORTED)
    for event in everything(context.engine, Filter(kind=chosen.kind, since=chosen.since, until=chosen.until)):
        print(event.json_line())


def read(context: Context) -> None:
    """Print someone's chats, once an event with the reason is stored."""
    reason = printable(context.chosen.reason, LONGEST_REASON + 1).strip()
    if not reason or len(reason) > LONGEST_REASON:
        raise Problem(f"--reason must have 1 to {LONGEST_REASON} characters. The person sees it. Nothing was read.")
    owner, conversation_id = _whose(context)
    chats = list(exported_conversations(context.engine, owner=owner))
    if conversation_id is not None:
        chats = [each for each in chats if each.id == conversation_id]
    if not chats:
        raise NotFound
    with transaction(context.engine) as connection:
        what = str(conversation_id or "")
        audit.record(
            connection,
            Kind.CHATS_READ,
            subject=owner.key,
            reason=reason,
            conversations=len(chats),
            **({"conversation": what} if what else {}),
        )
    sys.stderr.write(f"naru audit: recorded. {_told(owner)}\n")
    for each in chats:
        print(f"# {terminal.line(each.title)}  ({each.id}, {each.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC)")
        for message in exported_messages(context.engine, each.id, owner=owner):
            print(f"\n[{message.role}]\n{terminal.visible(message.content)}")
        print()


def _told(owner: Owner) -> str:
    if owner.kind == "person":
        return "The person sees it, with your reason, on the account page."
    return "The guest sees it, with your reason, at the foot of the sidebar."


def _whose(context: Context) -> tuple[Owner, UUID | None]:
    """Return the owner whose chats to read, and the conversation if only one is meant. Raises NotFound."""
    given: str = context.chosen.subject
    if "@" in given:
        return accounts.person_with(context.engine, given).owner, None
    try:
        conversation_id = UUID(given)
    except ValueError:
        return Owner.from_key(given), None
    owners = select(conversation.c.owner_id).where(conversation.c.id == conversation_id)
    with transaction(context.engine) as connection:
        key: str | None = connection.execute(owners).scalar_one_or_none()
    if key is None:
        raise NotFound
    return Owner.from_key(key), conversation_id


def _line(event: Event) -> str:
    details = " ".join(f"{name}={value}" for name, value in event.details.items())
    about = f"about {event.subject}" if event.subject and event.subject != event.actor else ""
    by = f"by {event.actor}" if event.actor else "by nobody"
    parts = (f"{event.seq:>7}", f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}", event.kind, by, about, event.address)
    return terminal.line("  ".join(part for part in (*parts, details) if part))


COMMANDS: Mapping[str, Callable[[Context], None]] = {"list": show, "verify": check, "export": export, "read": read}
