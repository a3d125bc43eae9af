"""Every kind of event over HTTP, the page for auditors, and what people are told."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from shared import audit, conversations
from shared.audit import Kind, marks
from shared.audit.events import Event, Filter, everything, newest
from shared.audit.verify import verify
from shared.keys import key_id, new_key
from shared.people import Owner, accounts, links
from shared.people.accounts import Role
from shared.postgres.database import transaction
from shared.retention import holdings_of
from tests.patience import patient
from tests.stack import Process, Stack, wait_until
from tests.web.clients import ask, browser
from tests.web.fake_worker import FakeWorker
from tests.web.visitors import EMAIL, FAILURES, OTHER, PASSWORD, Visitor, person_of, says, visit
from web.audit_keeper import AuditKeeper
from web.repeats import MOST_SOURCES, Repeats

#: What no event may hold: the text of `FakeWorker.question`, which is also its title, and the passwords.
WORDS = ("나루?", PASSWORD, OTHER)


@pytest.fixture(autouse=True)
def behind(engine: Engine) -> int:
    """The number of the last event before the test: events cannot be emptied."""
    return next((event.seq for event in newest(engine, Filter(), most=1)), 0)


def events(engine: Engine, behind: int, *kinds: Kind) -> list[Event]:
    """Return the events of the test, without words."""
    found = list(everything(engine, Filter(), behind=behind))
    assert not any(word in event.json_line() for event in found for word in WORDS)
    return [event for event in found if not kinds or event.kind in kinds]


def only(engine: Engine, behind: int, kind: Kind) -> Event:
    (event,) = events(engine, behind, kind)
    return event


def opens(visitor: Visitor, path: str) -> bool:
    return visitor.ask(path).status == 200


def is_sealed_with(engine: Engine, key_ids: tuple[str, ...]) -> bool:
    head = marks.marks_of(engine).get(marks.HEAD)
    return head is not None and head.key_ids == key_ids


def with_role(web: Process, engine: Engine, role: Role, email: str = "auditor@example.org") -> Visitor:
    """Return somebody with this role, signed in."""
    visitor = visit(web)
    assert visitor.sign_up(engine, email, role=role.value).status == 303
    return visitor


def test_sign_up_and_sign_in_are_recorded(web: Process, ada: Visitor, engine: Engine, behind: int) -> None:
    key = person_of(engine).owner.key
    found = [(event.kind, event.actor, event.subject, event.details) for event in events(engine, behind)]
    assert found == [
        ("invitation_made", "", "", {"role": "user"}),
        ("invitation_used", "", key, {"role": "user"}),
        ("account_made", "", key, {"role": "admin"}),
        ("signed_in", key, key, {"factors": "password"}),
    ]
    first = only(engine, behind, Kind.ACCOUNT_MADE)
    assert first.address == "127.0.0.1"
    assert len(first.http_id) == 32
    ada.post("/sign-out")
    left = only(engine, behind, Kind.SIGNED_OUT)
    assert (left.actor, left.subject) == (key, key)


def test_refused_sign_ins_are_counted(web: Process, ada: Visitor, engine: Engine, behind: int) -> None:
    stranger = visit(web)
    for _ in range(FAILURES - 1):
        assert stranger.sign_in(password="wrong").status == 400
    refused = only(engine, behind, Kind.SIGN_IN_REFUSED)
    assert (refused.actor, refused.subject) == ("", person_of(engine).owner.key)
    assert refused.details == {"reason": "wrong_password"}


def test_password_changes_are_recorded(web: Process, ada: Visitor, engine: Engine, behind: int) -> None:
    person = person_of(engine)
    assert ada.post("/account/password", {"current": "wrong", "password": OTHER}).status == 400
    assert ada.post("/account/delete", {"current": "wrong"}).status == 400
    refused = only(engine, behind, Kind.PASSWORD_REFUSED)
    assert (refused.actor, refused.details) == (person.owner.key, {"reason": "wrong_password"})
    assert ada.post("/account/password", {"current": PASSWORD, "password": OTHER}).status == 200
    assert only(engine, behind, Kind.PASSWORD_CHANGED).subject == person.owner.key
    token = links.allow_new_password(engine, person.id, hours=1)
    assert visit(web).post("/new-password", {"link": token, "password": PASSWORD}).status == 200
    assert only(engine, behind, Kind.PASSWORD_LINK_MADE).subject == person.owner.key
    assert (only(engine, behind, Kind.PASSWORD_SET).actor, only(engine, behind, Kind.PASSWORD_SET).subject) == (
        "",
        person.owner.key,
    )


def test_ended_sessions_are_recorded(web: Process, ada: Visitor, engine: Engine, behind: int) -> None:
    assert visit(web).sign_in().status == 303
    device = text("SELECT id FROM session ORDER BY created_at DESC LIMIT 1")
    with transaction(engine) as connection:
        newest_session = connection.execute(device).scalar_one()
    ada.post("/account/end", {"session": str(newest_session)})
    ada.post("/account/end", {"session": str(uuid4())})
    assert only(engine, behind, Kind.SESSIONS_ENDED).details == {"sessions": 1}
    assert visit(web).sign_in().status == 303
    ada.post("/account/end-all")
    assert [event.details for event in events(engine, behind, Kind.SESSIONS_ENDED)] == [
        {"sessions": 1},
        {"sessions": 2},
    ]


def test_deleted_account_stays_in_the_record(
    web: Process, ada: Visitor, engine: Engine, behind: int, fake_worker: FakeWorker
) -> None:
    second = visit(web)
    second.sign_up(engine, "second@example.org")
    person = person_of(engine, "second@example.org")
    fake_worker.question(person.owner)
    assert second.post("/account/delete", {"current": PASSWORD}).status == 200
    event = only(engine, behind, Kind.ACCOUNT_DELETED)
    assert (event.actor, event.subject, event.details) == (person.owner.key, person.owner.key, {"conversations": 1})
    wait_until(lambda: not holdings_of(engine, person.owner).conversations, what="the chats are erased")


def test_guests_chats_and_downloads_are_recorded(
    stack: Stack, ada: Visitor, engine: Engine, behind: int, fake_worker: FakeWorker
) -> None:
    owner, cookie = browser(stack)
    visitor = Visitor(ada.url, dict([cookie.split("=", 1)]))
    fake_worker.question(owner)
    assert visitor.sign_in().status == 303
    assert visitor.post("/guest-chats").status == 303
    taken = only(engine, behind, Kind.CHATS_TAKEN_OVER)
    key = person_of(engine).owner.key
    assert (taken.actor, taken.subject, taken.details) == (key, owner.key, {"conversations": 1})
    for _ in range(3):
        assert visitor.ask("/api/export?format=json").status == 200
        wait_until(lambda: visitor.ask("/api/export?format=none").status == 400, what="the download has ended")
    assert visitor.ask("/api/export?format=markdown").status == 200
    exported = events(engine, behind, Kind.CHATS_EXPORTED)
    assert [event.details for event in exported] == [{"format": "json"}, {"format": "md"}]
    assert {event.actor for event in exported} == {key}


def test_deleted_conversation_is_recorded(engine: Engine, behind: int, fake_worker: FakeWorker) -> None:
    owner = Owner.person(uuid4())
    conversation_id, _ = fake_worker.question(owner)
    conversations.delete(engine, conversation_id, owner=owner)
    event = only(engine, behind, Kind.CONVERSATION_DELETED)
    assert (event.actor, event.subject, event.details) == (owner.key, str(conversation_id), {})


def test_page_is_for_auditors_and_administrators(web: Process, ada: Visitor, engine: Engine, behind: int) -> None:
    auditor, user = with_role(web, engine, Role.AUDITOR), with_role(web, engine, Role.USER, "user@example.org")
    nobody = visit(web)
    for path in ("/audit", "/audit/export"):
        assert (nobody.ask(path).status, nobody.ask(path).headers["location"]) == (303, "/sign-in?c=audit")
        refused = user.ask(path)
        assert refused.status == 403
        assert says(refused, "Only auditors and administrators")
        assert "user@example.org" not in refused.body.replace(EMAIL, "")
        assert auditor.ask(path).status == 200
        leads = ['href="/audit"' in visitor.ask("/account").body for visitor in (auditor, ada, user)]
        assert leads == [True, True, False]
        wait_until(partial(opens, ada, path), what="the other download has ended")
    event = only(engine, behind, Kind.ROLE_REFUSED)
    assert (event.actor, event.details) == (person_of(engine, "user@example.org").owner.key, {"path": "/audit"})
    accounts.set_role(engine, person_of(engine, "auditor@example.org").id, Role.USER)
    wait_until(lambda: auditor.ask("/audit").status == 303, what="the auditor's session has ended")


def test_page_shows_and_filters_events(web: Process, ada: Visitor, engine: Engine, behind: int) -> None:
    page = ada.ask("/audit")
    assert "Account created" in page.body
    assert EMAIL in page.body
    assert "Account created" not in _list_of(ada.ask("/audit?kind=signed_in").body)
    assert "Signed in" in _list_of(ada.ask(f"/audit?kind=signed_in&person={EMAIL}").body)
    assert "Signed in" in _list_of(ada.ask(f"/audit?person={person_of(engine).owner.key}").body)
    assert "There are no such events." in ada.ask("/audit?day=2001-01-01").body
    assert "Signed in" in ada.ask(f"/audit?day={datetime.now(UTC):%Y-%m-%d}").body
    korean = ada.ask("/audit", accept_language="ko")
    assert "감사 기록" in korean.body
    assert "계정 생성" in korean.body


def test_page_has_fifty_events_and_leads_to_older_ones(web: Process, ada: Visitor, engine: Engine) -> None:
    with audit.acting("person:<b>x"), transaction(engine) as connection:
        for number in range(60):
            audit.record(connection, Kind.ROLE_CHANGED, role=f"<i>{number}")
    first = ada.ask("/audit?kind=role_changed")
    assert first.body.count('class="event"') == 50
    assert "<i>59" not in first.body, "details are escaped"
    assert "&lt;i&gt;59" in first.body
    assert "person:&lt;b&gt;x" in first.body
    link = first.body.partition('href="/audit?kind=role_changed&amp;before=')[2].partition('"')[0]
    second = ada.ask(f"/audit?kind=role_changed&before={link}")
    assert "&lt;i&gt;9<" in second.body
    assert "&lt;i&gt;10<" not in second.body


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("kind=nothing", "no such kind"),
        ("person=nobody@example.org", "no account with this"),
        ("day=yesterday", "not a day"),
        ("day=0001-01-01", "not a day"),
        ("before=-1", "does not exist"),
        ("before=99999999999999999999", "does not exist"),
    ],
)
def test_bad_filters_get_a_sentence(ada: Visitor, query: str, sentence: str) -> None:
    for path in ("/audit", "/audit/export"):
        answer = ada.ask(f"{path}?{query}")
        assert answer.status == 400
        assert says(answer, sentence)


def test_strange_filters_find_nothing(ada: Visitor) -> None:
    for person in ("%00", "person:%00", "%F0%9F%98%80", "a" * 2000, "person:x"):
        assert ada.ask(f"/audit?person={person}").status == 200


def test_file_has_every_event_of_the_filter(web: Process, ada: Visitor, engine: Engine, behind: int) -> None:
    answer = ada.ask("/audit/export?kind=account_made")
    assert answer.status == 200
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert {line["kind"] for line in lines} == {"account_made"}
    assert lines[-1]["subject"] == person_of(engine).owner.key
    assert only(engine, behind, Kind.RECORD_EXPORTED).actor == person_of(engine).owner.key
    foreign = ask(web.url, "/audit/export", cookie=ada.cookie, sec_fetch_site="cross-site")
    assert foreign.status == 403


def test_person_is_told_of_a_reading_until_acknowledged(
    web: Process, ada: Visitor, engine: Engine, behind: int
) -> None:
    key = person_of(engine).owner.key
    assert "read a chat" not in ada.ask("/account").body
    with audit.acting("terminal"), transaction(engine) as connection:
        audit.record(connection, Kind.CHATS_READ, subject=key, reason="court <order>", conversations=1)
    told = ada.ask("/account")
    assert says(told, "An administrator read a chat of yours.")
    assert "court &lt;order&gt;" in told.body
    (shown,) = re.findall(r'name="shown" value="(\d+)"', told.body)
    assert ada.post("/account/readings", {"shown": shown}).status == 303
    later = ada.ask("/account")
    assert 'role="alert"' not in later.body
    assert "court &lt;order&gt;" in later.body
    assert only(engine, behind, Kind.READING_ACKNOWLEDGED).actor == key


def test_new_keys_of_web_are_recorded(stack: Stack, engine: Engine, behind: int) -> None:
    first, second = new_key(), new_key()
    for keys in (first, f"{second},{first}", second):
        process = stack.start_web(auth="local", secret_key=keys, purge_seconds=0.2)
        wait_until(partial(is_sealed_with, engine, tuple(map(key_id, keys.split(",")))), what="sealed")
        process.terminate()
        assert process.wait() == 0
    changed = [event.details["keys"] for event in events(engine, behind, Kind.KEYS_CHANGED)]
    assert changed[-2:] == [f"{key_id(second)} {key_id(first)}", key_id(second)]
    assert verify(engine, secret_key=second).is_proved


def test_web_seals_new_events(stack: Stack, engine: Engine) -> None:
    with transaction(engine) as connection:
        audit.record(connection, Kind.SIGNED_IN)
    last = newest(engine, Filter(), most=1)[0].seq
    keeper = AuditKeeper(engine, stack.settings)
    keeper.start()
    try:
        wait_until(lambda: verify(engine, secret_key=stack.settings.secret_key).sealed >= last, what="sealed")
    finally:
        keeper.close()
    assert verify(engine, secret_key=stack.settings.secret_key).is_proved


def test_keeper_records_what_the_purge_removed(stack: Stack, engine: Engine, behind: int) -> None:
    keeper = AuditKeeper(engine, stack.settings)
    keeper.start()
    keeper.count_purged(Counter(conversation=2, message=5))
    keeper.count_purged(Counter(conversation=1))
    keeper.close()
    event = only(engine, behind, Kind.ROWS_PURGED)
    assert event.details == {"day": f"{datetime.now(UTC):%Y-%m-%d}", "rows": {"conversation": 3, "message": 5}}


def test_web_records_what_it_purged(stack: Stack, engine: Engine, behind: int, fake_worker: FakeWorker) -> None:
    owner = Owner.person(uuid4())
    conversation_id, _ = fake_worker.question(owner)
    conversations.delete(engine, conversation_id, owner=owner)
    process = stack.start_web(auth="local", purge_seconds=0.2, keep_deleted_days=0)
    wait_until(lambda: not holdings_of(engine, owner).conversations, what="the conversation has left")
    process.terminate()
    assert process.wait() == 0
    rows = [event.details["rows"] for event in events(engine, behind, Kind.ROWS_PURGED)]
    assert sum(each.get("conversation", 0) for each in rows) >= 1
    assert events(engine, behind, Kind.ROWS_PURGED)[-1].actor == ""


def test_repeats_become_one_line_with_a_count(engine: Engine, behind: int) -> None:
    repeats = Repeats(engine)
    for number in range(3 * MOST_SOURCES):
        with audit.acting("", f"192.0.2.{number}"):
            for _ in range(5):
                repeats.record(Kind.SIGN_IN_REFUSED, reason="wrong_password")
    first = events(engine, behind, Kind.SIGN_IN_REFUSED)
    assert len(first) <= MOST_SOURCES + 1
    repeats.flush()
    assert len(events(engine, behind)) == len(first), "the minute has not ended"
    repeats.flush_all()
    found = events(engine, behind, Kind.SIGN_IN_REFUSED)
    assert len(first) + sum(event.details.get("times", 0) for event in found) == 15 * MOST_SOURCES
    assert len(found) <= 2 * (MOST_SOURCES + 1)


@pytest.fixture
def syslog() -> Iterator[socket.socket]:
    """A syslog server: a UDP socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(patient(20))
        yield listening


def test_events_reach_syslog(stack: Stack, engine: Engine, syslog: socket.socket) -> None:
    with transaction(engine) as connection:
        digest = audit.record(connection, Kind.ACCOUNT_ENABLED, subject="person:x")
    port = syslog.getsockname()[1]
    process = stack.start_web(auth="local", audit_log=f"syslog:127.0.0.1:{port}")
    limit = time.monotonic() + patient(30)
    message = ""
    while digest not in message and time.monotonic() < limit:
        message = syslog.recv(65_536).decode()
    head, _, body = message.partition(" - {")
    assert head.startswith("<38>1 ")
    assert f" naru - {Kind.ACCOUNT_ENABLED}" in head
    assert json.loads("{" + body)["hash"] == digest
    process.terminate()
    assert process.wait() == 0


def test_events_reach_stdout(stack: Stack, engine: Engine) -> None:
    with transaction(engine) as connection:
        audit.record(connection, Kind.ACCOUNT_ENABLED, subject="person:x")
        connection.execute(text("DELETE FROM audit_mark WHERE name = 'sent'"))
    process = stack.start_web(auth="local", audit_log="stdout")
    last = newest(engine, Filter(), most=1)[0].json_line()
    wait_until(lambda: last in process.log.read_text(encoding="utf-8"), what="the newest event")
    process.terminate()
    assert process.wait() == 0


def test_events_wait_while_they_cannot_be_sent(
    stack: Stack, engine: Engine, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path_factory.mktemp("syslog") / "log"
    with transaction(engine) as connection:
        digest = audit.record(connection, Kind.ACCOUNT_ENABLED, subject="person:x")
    keeper = AuditKeeper(engine, replace(stack.settings, audit_log=f"syslog:{path}"))
    with caplog.at_level(logging.WARNING):
        keeper.start()
        wait_until(lambda: "could not be sent" in caplog.text, what="a failure")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(patient(20))
        message = ""
        while digest not in message:
            message = listening.recv(65_536).decode()
        keeper.close()
    assert Kind.ACCOUNT_ENABLED in message


def _list_of(body: str) -> str:
    return body.partition("<ul")[2].partition("</ul>")[0]
