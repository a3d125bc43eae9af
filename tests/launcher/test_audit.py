"""`./naru audit` on a real database, and the events of the other commands."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from deploy.cli.audit import make_parser
from deploy.cli.events import COMMANDS
from shared.audit import Kind, marks
from shared.audit.events import Event, Filter, everything
from shared.lifecycle import Question, submit
from shared.people import Owner, accounts, links
from shared.postgres.database import make_engine, transaction
from tests.launcher.test_ask import naru
from tests.stack import Stack

EMAIL = "ada@example.org"

UNKNOWN = UUID(int=4)


@pytest.fixture
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database."""
    return make_engine(stack.settings, name="test")


def command(stack: Stack, *words: str, fails: bool = False, **settings: object) -> str:
    """Run a command, and return its output; with `fails`, its one sentence."""
    ran = naru(stack, *words, **{"auth": "local", **settings})
    assert ran.returncode == fails, ran.stderr
    assert not (fails and ran.stdout), ran.stdout
    return ran.stderr if fails else ran.stdout


def made(engine: Engine, email: str = EMAIL) -> accounts.Person:
    token = links.invite(engine, "user", days=1)
    return accounts.sign_up(engine, email=email, password_hash="x", invitation=token, is_open=False)


def found(engine: Engine, kind: Kind) -> list[Event]:
    return list(everything(engine, Filter(kind=kind)))


def question(engine: Engine, owner: Owner, words: str) -> str:
    asked = Question(owner=owner, conversation_id=uuid4(), text=words, idempotency_key=uuid4().hex)
    return str(submit(engine, asked, deadline_seconds=600, max_characters=100).conversation_id)


def test_people_commands_are_recorded(stack: Stack, engine: Engine) -> None:
    made(engine)
    second = made(engine, "second@example.org")
    email, key = second.email, second.owner.key
    command(stack, "people", "invite", "--role", "auditor")
    for words in (("reset", email), ("role", email, "auditor"), ("disable", email), ("enable", email)):
        command(stack, "people", *words)
    with transaction(engine) as connection:
        row = "INSERT INTO session (id, token_hash, person_id, device, address) VALUES (:id, 'x', :person, '', '')"
        connection.execute(text(row), {"id": uuid4(), "person": second.id})
    command(stack, "people", "sign-out", email)
    recorded = [(event.kind, event.subject, event.details) for event in everything(engine, Filter(person="terminal"))]
    assert recorded == [
        ("invitation_made", "", {"role": "auditor"}),
        ("password_link_made", key, {}),
        ("role_changed", key, {"before": "user", "role": "auditor"}),
        ("account_disabled", key, {}),
        ("account_enabled", key, {}),
        ("sessions_ended", key, {"sessions": 1}),
    ]


def test_erase_is_recorded(stack: Stack, engine: Engine) -> None:
    made(engine)
    second = made(engine, "second@example.org")
    question(engine, second.owner, "a secret question")
    command(stack, "erase", "--yes", second.owner.key)
    (deleted,), (erased,) = found(engine, Kind.ACCOUNT_DELETED), found(engine, Kind.CHATS_ERASED)
    assert (deleted.actor, deleted.subject) == ("terminal", second.owner.key)
    assert erased.details == {"conversations": 1, "messages": 2}, "the stopped answer counts"


def test_verify_finds_a_changed_event(stack: Stack, engine: Engine) -> None:
    assert "There are no events yet." in command(stack, "audit", "verify")
    made(engine)
    printed = command(stack, "audit", "verify")
    assert "3 events, 1 to 3: unbroken." in printed
    assert "Nothing is sealed yet" in printed
    head = printed.split("The newest hash is ")[1].split()[0]
    marks.seal(engine, stack.settings.secret_key, is_first=True)
    printed = command(stack, "audit", "verify", "--head", head, secret_key=stack.settings.secret_key)
    assert "The seal fits: web sealed the events up to 3" in printed
    assert "The seal was not checked" in command(stack, "audit", "verify", secret_key="")
    assert "no event has this hash" in command(stack, "audit", "verify", "--head", "0" * 64, fails=True)
    with transaction(engine) as connection:
        connection.execute(text("ALTER TABLE audit_event DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE audit_event SET actor = 'x' WHERE seq = 2"))
        connection.execute(text("ALTER TABLE audit_event ENABLE TRIGGER USER"))
    assert "naru audit: BROKEN: event 2 does not fit" in command(stack, "audit", "verify", fails=True)


def test_list_and_export_show_events(stack: Stack, engine: Engine) -> None:
    person = made(engine)
    listed = command(stack, "audit", "list", "--last", "1").strip()
    assert listed.endswith(f"account_made  by nobody  about {person.owner.key}  role=admin")
    lines = command(stack, "audit", "export", "--kind", "account_made", "--since", "2020-01-01").splitlines()
    assert [json.loads(line)["subject"] for line in lines] == [person.owner.key]
    assert command(stack, "audit", "export", "--until", "2020-01-01T10:00") == ""
    assert [event.actor for event in found(engine, Kind.RECORD_EXPORTED)] == ["terminal", "terminal"]
    assert "there is no kind nothing. Kinds: signed_in, " in command(
        stack, "audit", "export", "--kind", "nothing", fails=True
    )


def test_read_needs_a_reason_and_tells_the_person(stack: Stack, engine: Engine) -> None:
    person = made(engine)
    chat, other = question(engine, person.owner, "first words"), question(engine, person.owner, "other words")
    for reason in ("", "  ", "x" * 501):
        assert "The person sees it. Nothing was read." in command(
            stack, "audit", "read", chat, "--reason", reason, fails=True
        )
    ran = naru(stack, "audit", "read", chat, auth="local")
    assert ran.returncode == 2
    assert "--reason" in ran.stderr
    assert found(engine, Kind.CHATS_READ) == []
    printed = command(stack, "audit", "read", chat, "--reason", "court order 5")
    assert "first words" in printed
    assert "other words" not in printed
    assert other in command(stack, "audit", "read", EMAIL, "--reason", "court order 6")
    one, both = found(engine, Kind.CHATS_READ)
    assert (one.actor, one.subject) == ("terminal", person.owner.key)
    assert one.details == {"reason": "court order 5", "conversation": chat, "conversations": 1}
    assert both.details == {"reason": "court order 6", "conversations": 2}
    assert "words" not in one.json_line() + both.json_line()


@pytest.mark.parametrize(
    "subject", ["person:x", "nobody@example.org", "00000000-0000-4000-8000-000000000000", "", "'; DROP"]
)
def test_read_of_nothing_records_nothing(stack: Stack, engine: Engine, subject: str) -> None:
    sentence = command(stack, "audit", "read", subject, "--reason", "why", fails=True)
    assert "there is no such chat or person" in sentence
    assert found(engine, Kind.CHATS_READ) == []


def test_help_names_every_command() -> None:
    assert all(f"    {name} " in make_parser().format_help() for name in COMMANDS)


def test_arguments_are_checked(stack: Stack) -> None:
    for words in (("list", "--last", "0"), ("verify", "--head", "x"), ("export", "--since", "yesterday")):
        ran = naru(stack, "audit", *words, auth="local")
        assert ran.returncode == 2
        assert "Traceback" not in ran.stderr
