"""The record of events: the chain, its marks, what the database refuses, and what `verify` finds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from shared import audit
from shared.audit import Kind, marks, readings
from shared.audit.chain import Broken, Link, hash_of, walk
from shared.audit.events import Filter, everything, newest
from shared.audit.verify import HeadMissing, verify
from shared.keys import key_id, new_key
from shared.postgres.database import transaction
from shared.tables import audit_event

KEY = "a-key-of-at-least-32-bytes-for-the-tests"
OLD = "another-key-of-at-least-32-bytes-for-tests"


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> Iterator[None]:
    as_owner(engine, "DELETE FROM audit_event", "DELETE FROM audit_mark")
    yield
    as_owner(engine, "DELETE FROM audit_event", "DELETE FROM audit_mark")


def as_owner(engine: Engine, *statements: str, **values: object) -> None:
    """Do what only the tables' owner can do: switch the triggers off."""
    with transaction(engine) as connection:
        connection.execute(text("ALTER TABLE audit_event DISABLE TRIGGER USER"))
        for each in statements:
            connection.execute(text(each), values)
        connection.execute(text("ALTER TABLE audit_event ENABLE TRIGGER USER"))


def note(engine: Engine, number: int = 1) -> str:
    """Record events, and return the last hash."""
    with transaction(engine) as connection:
        return [audit.record(connection, Kind.ROLE_CHANGED, before="user", role=str(n)) for n in range(number)][-1]


def seal(engine: Engine, key: str = KEY, *, is_first: bool = True) -> bool:
    """Seal as a web process does; return whether there was anything to seal."""
    return marks.seal(engine, key, is_first=is_first) is not None


def make_old(engine: Engine, days: int, until: int) -> None:
    """Move the first events into the past, and chain everything anew, as the migration's trigger would have."""
    as_owner(engine, f"UPDATE audit_event SET at = at - interval '{days} days' WHERE seq <= {until}")
    before = b""
    with transaction(engine) as connection:
        rows = connection.execute(text("SELECT *, details::text AS text FROM audit_event ORDER BY seq")).all()
    for row in rows:
        before = hash_of(row, before)
        as_owner(engine, "UPDATE audit_event SET hash = :hash WHERE seq = :seq", hash=before, seq=row.seq)


def test_record_keeps_who_what_and_where(engine: Engine) -> None:
    person = f"person:{uuid4()}"
    with audit.acting(person, "192.0.2.1"), transaction(engine) as connection:
        digest = audit.record(connection, Kind.ROLE_CHANGED, subject="person:x", before="user", role="a\x00b\u202ec")
    (event,) = newest(engine, Filter(), most=5)
    assert (event.seq, event.kind, event.actor, event.address) == (1, "role_changed", person, "192.0.2.1")
    assert (event.subject, event.details) == ("person:x", {"before": "user", "role": "a b c"})
    assert event.hash.hex() == digest
    assert json.loads(event.json_line())["hash"] == digest
    assert abs(event.at - datetime.now(UTC)) < timedelta(minutes=1)


def test_record_refuses_unknown_details(engine: Engine) -> None:
    with pytest.raises(ValueError, match="signed_in has no detail password"), transaction(engine) as connection:
        audit.record(connection, Kind.SIGNED_IN, password="x")
    assert newest(engine, Filter(), most=5) == []


def test_record_leaves_with_its_transaction(engine: Engine) -> None:
    def fail() -> None:
        with transaction(engine) as connection:
            audit.record(connection, Kind.SIGNED_IN)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    note(engine)
    assert [event.seq for event in newest(engine, Filter(), most=5)] == [1], "numbers have no gaps"


def test_concurrent_writers_make_one_chain(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: note(engine, 5), range(20)))
    assert [end.seq for end in walk(engine, marks.BEGINNING, batch=7)] == list(range(1, 101))


def test_strange_texts_keep_the_chain(engine: Engine) -> None:
    strange = 'ü "quoted" \\ back / \U0001f600 나루 \x7f \u2028'
    with audit.acting(strange, strange), transaction(engine) as connection:
        audit.record(connection, Kind.CHATS_READ, subject=strange, reason=strange, conversations=2**31)
    assert verify(engine, secret_key="").events == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET kind = 'x'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
        "DELETE FROM audit_event USING audit_mark",
    ],
)
def test_database_refuses_changes(engine: Engine, statement: str) -> None:
    note(engine)
    with transaction(engine) as connection:
        marks.set_mark(connection, marks.ANCHOR, Link(1, b"x"), (KEY,))
    with pytest.raises(ProgrammingError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))
    assert len(newest(engine, Filter(), most=5)) == 1


def test_database_sets_number_time_and_hash(engine: Engine) -> None:
    note(engine)
    with transaction(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO audit_event (seq, at, kind, actor, subject, address, http_id, details, hash)"
                " VALUES (77, '2001-01-01', 'x', '', '', '', '', '{}', '')"
            )
        )
    assert verify(engine, secret_key="").last == 2


CHANGES: dict[str, tuple[Callable[[Engine], None], str]] = {
    "changed": (lambda e: as_owner(e, "UPDATE audit_event SET actor = 'x' WHERE seq = 4"), "event 4 does not fit"),
    "deleted": (lambda e: as_owner(e, "DELETE FROM audit_event WHERE seq = 4"), "event 4 is missing"),
    "many deleted": (lambda e: as_owner(e, "DELETE FROM audit_event WHERE seq IN (4, 5)"), "event 4 to 5 are missing"),
    "first deleted": (lambda e: as_owner(e, "DELETE FROM audit_event WHERE seq = 1"), "event 1 is missing"),
    "closed up": (
        lambda e: as_owner(
            e, "DELETE FROM audit_event WHERE seq = 4", "UPDATE audit_event SET seq = seq - 1 WHERE seq > 4"
        ),
        "event 4 does not fit",
    ),
    "reordered": (
        lambda e: as_owner(
            e,
            "UPDATE audit_event SET seq = -5 WHERE seq = 5",
            "UPDATE audit_event SET seq = 5 WHERE seq = 6",
            "UPDATE audit_event SET seq = 6 WHERE seq = -5",
        ),
        "event 5 does not fit",
    ),
    "inserted": (
        lambda e: as_owner(
            e,
            "UPDATE audit_event SET seq = -seq - 1 WHERE seq > 4",
            "UPDATE audit_event SET seq = -seq WHERE seq < 0",
            "INSERT INTO audit_event SELECT 5, at, kind, actor, subject, address, http_id, details, hash"
            " FROM audit_event WHERE seq = 4",
        ),
        "event 5 does not fit",
    ),
    "cut off": (lambda e: as_owner(e, "DELETE FROM audit_event WHERE seq > 7"), "event 8 to 9 are missing"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_verify_names_the_first_wrong_event(engine: Engine, name: str) -> None:
    note(engine, 9)
    assert seal(engine)
    assert verify(engine, secret_key=KEY).is_proved
    change, sentence = CHANGES[name]
    change(engine)
    with pytest.raises(Broken, match=sentence):
        verify(engine, secret_key=KEY)
    with pytest.raises(Broken, match=sentence):
        verify(engine, secret_key="")


def test_head_from_elsewhere_finds_a_cut_end(engine: Engine) -> None:
    note(engine, 3)
    digest = note(engine)
    assert verify(engine, secret_key="", head=digest).last == 4
    as_owner(engine, "DELETE FROM audit_event WHERE seq = 4")
    assert verify(engine, secret_key="").last == 3, "nothing was sealed"
    with pytest.raises(HeadMissing):
        verify(engine, secret_key="", head=digest)


def chain_anew(engine: Engine) -> None:
    """Forge: change an event, and make all hashes fit again."""
    as_owner(engine, "UPDATE audit_event SET actor = 'x' WHERE seq = 2")
    make_old(engine, 0, 0)


def test_seal_finds_a_chain_made_anew(engine: Engine) -> None:
    note(engine, 5)
    seal(engine)
    chain_anew(engine)
    with pytest.raises(Broken, match="event 5 is not the one that was sealed"):
        verify(engine, secret_key="")
    note(engine)
    with pytest.raises(Broken, match="event 5 is not the one that was sealed"):
        seal(engine)
    as_owner(engine, "UPDATE audit_mark SET hash = (SELECT hash FROM audit_event WHERE seq = 5)")
    assert not verify(engine, secret_key="").is_proved
    with pytest.raises(marks.Forged, match="the head was changed"):
        verify(engine, secret_key=KEY)
    with pytest.raises(marks.Forged, match="the head was changed"):
        seal(engine)


def test_purge_leaves_a_verifiable_chain(engine: Engine) -> None:
    note(engine, 9)
    make_old(engine, 40, 5)
    assert marks.purge(engine, KEY, days=30) == 0, "nothing is sealed"
    seal(engine)
    assert marks.purge(engine, KEY, days=41) == 0
    assert marks.purge(engine, KEY, days=30) == 5
    found = verify(engine, secret_key=KEY)
    assert (found.events, found.first, found.last, found.is_proved) == (4, 6, 9, True)
    as_owner(engine, "DELETE FROM audit_event WHERE seq = 6")
    with pytest.raises(Broken, match="event 6 is missing"):
        verify(engine, secret_key=KEY)


def test_chain_goes_on_after_everything_left(engine: Engine) -> None:
    note(engine, 3)
    make_old(engine, 40, 3)
    seal(engine)
    assert marks.purge(engine, KEY, days=30) == 3
    assert verify(engine, secret_key=KEY).events == 0
    note(engine)
    assert seal(engine)
    assert [event.seq for event in newest(engine, Filter(), most=5)] == [4]
    assert verify(engine, secret_key=KEY).is_proved


def test_anchor_cannot_be_moved_without_the_key(engine: Engine) -> None:
    note(engine, 9)
    seal(engine)
    as_owner(
        engine,
        "INSERT INTO audit_mark SELECT 'anchor', 4, hash, '" + key_id(KEY) + "', '' FROM audit_event WHERE seq = 4",
        "DELETE FROM audit_event WHERE seq <= 4",
    )
    with pytest.raises(marks.Forged, match="the anchor was changed"):
        verify(engine, secret_key=KEY)


def test_new_key_takes_over_and_is_recorded(engine: Engine) -> None:
    note(engine, 3)
    seal(engine, OLD)
    assert seal(engine, f"{KEY},{OLD}")
    assert not seal(engine, OLD, is_first=False), "the process with the old keys leaves it to the new one"
    (event,) = newest(engine, Filter(kind=Kind.KEYS_CHANGED), most=5)
    assert event.details == {"before": key_id(OLD), "keys": f"{key_id(KEY)} {key_id(OLD)}"}
    assert seal(engine, KEY), "the old one is dropped"
    assert verify(engine, secret_key=KEY).is_proved
    assert newest(engine, Filter(kind=Kind.SEAL_RENEWED), most=5) == []


def test_lost_key_leaves_an_event(engine: Engine) -> None:
    note(engine, 3)
    seal(engine, OLD)
    assert not verify(engine, secret_key=KEY).is_proved
    assert seal(engine, KEY)
    (event,) = newest(engine, Filter(kind=Kind.SEAL_RENEWED), most=5)
    assert event.details == {"before": key_id(OLD)}
    assert verify(engine, secret_key=f"{KEY} {new_key()}").is_proved


def test_filters_choose_events(engine: Engine) -> None:
    with audit.acting("person:a"), transaction(engine) as connection:
        audit.record(connection, Kind.SIGNED_OUT, subject="person:a")
        audit.record(connection, Kind.ACCOUNT_ENABLED, subject="person:b")
    note(engine, 3)
    assert [event.seq for event in everything(engine, Filter())] == [1, 2, 3, 4, 5]
    assert [event.seq for event in everything(engine, Filter(), behind=1, most=2)] == [2, 3]
    assert [event.seq for event in newest(engine, Filter(person="person:b"), most=5)] == [2]
    assert [event.seq for event in newest(engine, Filter(person="person:a"), most=5)] == [2, 1]
    assert [event.seq for event in newest(engine, Filter(kind="role_changed"), most=5, before=5)] == [4, 3]
    now = datetime.now(UTC)
    assert newest(engine, Filter(since=now + timedelta(hours=1)), most=5) == []
    assert len(newest(engine, Filter(since=now - timedelta(hours=1), until=now + timedelta(hours=1)), most=9)) == 5


def test_readings_are_new_until_acknowledged(engine: Engine) -> None:
    readings.acknowledge(engine, "person:a", shown=9)
    for reason in ("first", "second"):
        with audit.acting("terminal"), transaction(engine) as connection:
            audit.record(connection, Kind.CHATS_READ, subject="person:a", reason=reason, conversations=1)
    found = readings.readings_of(engine, "person:a")
    assert [(each.reason, each.is_new) for each in found] == [("second", True), ("first", True)]
    readings.acknowledge(engine, "person:a", shown=1)
    assert [each.is_new for each in readings.readings_of(engine, "person:a")] == [True, False], "a later one stays new"
    readings.acknowledge(engine, "person:a", shown=2)
    readings.acknowledge(engine, "person:a", shown=2)
    assert [each.is_new for each in readings.readings_of(engine, "person:a")] == [False, False]
    events = newest(engine, Filter(kind="reading_acknowledged"), most=5)
    assert [event.details for event in events] == [{"event": 2}, {"event": 1}]
    assert readings.readings_of(engine, "person:b") == []


def test_walk_reads_the_columns_that_the_hash_covers() -> None:
    covered = {"seq", "at", "kind", "actor", "subject", "address", "http_id", "details"}
    assert covered | {"hash"} == {each.name for each in audit_event.c}
