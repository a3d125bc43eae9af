"""`./naru erase OWNER`: remove everything of one person at once, and say what still remembers it."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from deploy import terminal
from deploy.backup import commands
from deploy.backup.forgetting import sentences
from deploy.backup.locate import server_at
from deploy.backup.problem import BackupProblem
from deploy.backup.server import Server, reason_of
from deploy.embedded.data import DataProblem
from shared import audit
from shared.audit import Kind
from shared.audit.acting import TERMINAL
from shared.errors import NaruError
from shared.people import Owner, accounts
from shared.people.accounts import Person
from shared.postgres.database import make_plain_engine, transaction
from shared.retention import Holdings, StillAsking, erase, holdings_of

STOPPED = 130
UNKNOWN = """\
there is no owner {owner} in the database. An owner is `terminal`, person:ID or browser:ID. The address of a person's
      chat ends in the conversation's id, which names the owner: SELECT owner_id FROM conversation WHERE id = 'ID'"""


def run(owner: str, *, data: Path, is_confirmed: bool) -> int:
    """Erase the owner's rows, after a question unless `is_confirmed`; return the exit code."""
    try:
        context = commands.context_of(data)
        with server_at(data, context.settings) as server, audit.acting(TERMINAL):
            return _erase(Owner.from_key(owner), server, context, is_confirmed=is_confirmed)
    except KeyboardInterrupt:
        _complain("interrupted. Rows that are left are hidden from every page. Run the command again.")
        return STOPPED
    except psycopg2.Error as error:
        _complain(f"Postgres failed: {reason_of(error)}")
    except SQLAlchemyError as error:
        _complain(f"Postgres failed ({type(error).__name__}). What was removed stays removed; run the command again.")
    except StillAsking:
        _complain("this person goes on asking, or an answer does not end. Keep them off the page, then erase again.")
    except (BackupProblem, DataProblem, NaruError) as error:
        _complain(str(error))
    return 1


def _erase(owner: Owner, server: Server, context: commands.Context, *, is_confirmed: bool) -> int:
    engine = make_plain_engine(server.url)
    held, person = holdings_of(engine, owner), _person_of(engine, owner)
    if not held.conversations and person is None:
        _complain(UNKNOWN.format(owner=terminal.line(owner.key)))
        return 1
    if person is not None:
        print(f"{terminal.line(owner.key)} is the account of {terminal.line(person.shown)}, which leaves too.")
    print(f"{terminal.line(owner.key)} has {in_words(held)}.")
    if not is_confirmed and not _is_wanted():
        print("Nothing was erased.")
        return 1
    if person is not None:
        accounts.remove(engine, person.id, conversations=held.conversations)  # first, so that nobody can ask meanwhile
    gone = erase(engine, owner, stop_patience_seconds=context.settings.stop_patience_seconds)
    with transaction(engine) as connection:
        audit.record(
            connection,
            Kind.CHATS_ERASED,
            subject=owner.key,
            conversations=gone["conversation"],
            messages=gone["message"],
        )
    rows = ", ".join(_counted(gone[kind], kind) for kind in ("conversation", "message", "request", "attempt"))
    print(f"Erased from the database: {rows}.")
    seconds = context.settings.stream_seconds
    for sentence in (
        f"Redis forgets the live text of their last answers within {seconds / 60:.0f} min (NARU_STREAM_SECONDS).",
        "The record of events keeps the owner's id, without words, for NARU_KEEP_AUDIT_DAYS.",
        *sentences(context.settings, context.shelf, server, context.keep),
    ):
        print(f"  {terminal.line(sentence)}")
    return 0


def _person_of(engine: Engine, owner: Owner) -> Person | None:
    return accounts.with_id(engine, UUID(owner.id)) if owner.kind == "person" else None


def in_words(held: Holdings) -> str:
    """Return the counts as a phrase."""
    active = f" ({held.active} of them active)" if held.active else ""
    messages, requests = _counted(held.messages, "message"), _counted(held.requests, "request")
    return f"{_counted(held.conversations, 'conversation')} with {messages} and {requests}{active}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is_wanted() -> bool:
    print("All of it will be erased, at once and for good. Type yes to go on: ", end="", flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print()
    return answer.strip().lower() == "yes"


def _complain(sentence: str) -> None:
    sys.stderr.write(f"naru erase: {sentence}\n")
