"""Tests of retention: what should be gone leaves in bounded slices, and nothing else does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Table, func, insert, select, update

from shared import fleet, lifecycle
from shared.conversations import delete, list_conversations, open_conversation
from shared.errors import NotFound
from shared.following.sweep import Known, sweep
from shared.keeping import WORKER_DAYS, Keeping, Kind, overdue_seconds
from shared.lifecycle import Answer, Reasoning
from shared.retention import Purge, purge_slice
from shared.retention.purge import FEWEST_ROWS, next_rows
from shared.retention.slices import ADVISORY_LOCK, MOST_ROWS
from shared.settings import Settings
from shared.tables import (
    Outcome,
    chat_request,
    conversation,
    guest_link,
    link,
    message,
    metadata,
    person,
    reasoning,
    request_attempt,
    session,
    sign_in_allowance,
    spending,
    worker,
)
from tests.shared.rig import OWNER, RequestRig
from tests.shared.together import together
from tests.stack import wait_until

KEEPING = Keeping(deleted_days=30, conversation_days=0, session_days=90, session_idle_days=14, spending_days=400)
DAY = 86_400.0
GROWING = (conversation, message, chat_request, request_attempt)


def purged(rig: RequestRig, keeping: Keeping = KEEPING, *, rows: int = MOST_ROWS) -> Counter[str]:
    """Run slices until nothing is due; return the rows removed."""
    gone: Counter[str] = Counter()
    while True:
        removed = purge_slice(rig.engine, keeping, rows=rows)
        assert removed is not None
        if not removed:
            return gone
        gone += removed


def conversation_with(rig: RequestRig, answers: int = 1) -> UUID:
    """Store a conversation with this many answered questions."""
    first = rig.ask().conversation_id
    for number in range(answers):
        request = rig.rows(chat_request, conversation_id=first)[0]["id"] if number == 0 else None
        asked = request or rig.ask(conversation_id=first).request_id
        assert lifecycle.finish(rig.engine, rig.claim(asked, rig.worker()), Answer(text="So."))
    return first


def put(rig: RequestRig, conversation_id: UUID, **values: object) -> None:
    with rig.begin() as connection:
        connection.execute(update(conversation).where(conversation.c.id == conversation_id).values(**values))


def counts(rig: RequestRig) -> dict[str, int]:
    return {table.name: rig.count(table) for table in GROWING}


@pytest.mark.parametrize("rows", [1, MOST_ROWS])
def test_reasoning_leaves_with_its_conversation(rig: RequestRig, rows: int) -> None:
    claimed = rig.running()
    answer = Answer(text="So.", reasoning=Reasoning(text="Hm.\0", seconds=1.5, tokens=7))
    assert lifecycle.finish(rig.engine, claimed, answer)
    kept = {name: rig.rows(reasoning)[0][name] for name in ("request_id", "attempt", "content", "seconds", "tokens")}
    assert kept == {
        "request_id": claimed.request_id,
        "attempt": 1,
        "content": "Hm.\ufffd",
        "seconds": 1.5,
        "tokens": 7,
    }
    put(rig, claimed.conversation_id, deleted_at=rig.ago(31 * DAY))
    assert purged(rig, rows=rows)["reasoning"] == 1
    assert {*counts(rig).values(), rig.count(reasoning)} == {0}


def test_deleted_conversation_leaves_after_its_days(rig: RequestRig) -> None:
    kept, young, old = (conversation_with(rig, answers=2) for _ in range(3))
    put(rig, young, deleted_at=rig.ago(29.9 * DAY))
    put(rig, old, deleted_at=rig.ago(30.1 * DAY))
    assert purged(rig) == {"conversation": 1, "message": 4, "request": 2, "attempt": 2}
    assert {row["id"] for row in rig.rows(conversation)} == {kept, young}
    assert counts(rig) == {"conversation": 2, "message": 8, "chat_request": 4, "request_attempt": 4}
    assert open_conversation(rig.engine, kept, owner=OWNER).messages


def test_conversation_deleted_by_its_owner_leaves(rig: RequestRig) -> None:
    request = rig.answered()
    delete(rig.engine, rig.row(request)["conversation_id"], owner=OWNER)
    assert not purged(rig)
    assert purged(rig, replace(KEEPING, deleted_days=0))["conversation"] == 1
    assert counts(rig) == dict.fromkeys(counts(rig), 0)


def test_conversation_with_an_active_request_stays(rig: RequestRig) -> None:
    running, queued = rig.running().conversation_id, rig.ask().conversation_id
    for each in (running, queued):
        put(rig, each, deleted_at=rig.ago(90 * DAY), updated_at=rig.ago(90 * DAY))
    keeping = replace(KEEPING, conversation_days=1)
    assert not purged(rig, keeping)
    put(rig, running, deleted_at=None)
    assert not purged(rig, keeping)
    assert rig.rows(conversation, id=running)[0]["deleted_at"] is None


def test_conversation_stays_while_its_call_may_go_on(rig: RequestRig) -> None:
    claimed = rig.running()
    assert lifecycle.fail(rig.engine, claimed, Answer(text="", call_id="resp_1"), code="total_timeout")
    put(rig, claimed.conversation_id, deleted_at=rig.ago(1))
    at_once = replace(KEEPING, deleted_days=0)
    assert purged(rig, at_once)["conversation"] == 0
    lifecycle.forget_call(rig.engine, claimed.request_id, "resp_1")
    assert purged(rig, at_once)["conversation"] == 1


def test_slices_are_bounded_however_long_a_conversation_is(rig: RequestRig) -> None:
    long, short = conversation_with(rig), conversation_with(rig)
    rig.lengthen(long, 700)
    for each in (long, short):
        put(rig, each, deleted_at=rig.ago(31 * DAY))
    before = sum(counts(rig).values())
    slices = []
    while removed := purge_slice(rig.engine, KEEPING, rows=100):
        slices.append(removed.total())
        left = sum(counts(rig).values())
        assert before - left == removed.total() <= 100, "no cascade removes more than the slice says"
        before = left
    assert before == 0
    assert sum(slices) == 700 + 2 * 5
    assert len(slices) <= 10


def test_old_conversation_leaves_only_with_an_age_limit(rig: RequestRig) -> None:
    fresh, old = conversation_with(rig), conversation_with(rig)
    put(rig, old, updated_at=rig.ago(11 * DAY))
    assert not purged(rig)
    keeping = replace(KEEPING, conversation_days=10)
    assert purged(rig, keeping)["conversation"] == 1
    assert [row["id"] for row in rig.rows(conversation)] == [fresh]


def test_half_removed_old_conversation_is_not_shown(rig: RequestRig) -> None:
    old = conversation_with(rig)
    rig.lengthen(old, 200)
    put(rig, old, updated_at=rig.ago(11 * DAY))
    keeping = replace(KEEPING, conversation_days=10)
    assert purge_slice(rig.engine, keeping, rows=50)
    assert rig.count(conversation) == 1
    assert list_conversations(rig.engine, owner=OWNER) == []
    with pytest.raises(NotFound):
        open_conversation(rig.engine, old, owner=OWNER)
    assert overdue(rig, keeping)[Kind.DELETED] < 60, "the mark is no older than now"
    purged(rig, keeping)
    assert rig.count(conversation) == 0


def test_question_asked_meanwhile_keeps_an_old_conversation(rig: RequestRig) -> None:
    old = conversation_with(rig)
    put(rig, old, updated_at=rig.ago(11 * DAY))
    keeping = replace(KEEPING, conversation_days=10)
    with rig.begin() as asking:
        asking.execute(select(conversation.c.id).where(conversation.c.id == old).with_for_update())
        assert not purged(rig, keeping), "whoever holds the conversation keeps it"
    rig.ask(conversation_id=old)
    assert not purged(rig, keeping)
    assert len(open_conversation(rig.engine, old, owner=OWNER).messages) == 3


def test_purge_and_questions_at_once_lose_nothing(rig: RequestRig) -> None:
    keeping = replace(KEEPING, conversation_days=10)
    for _ in range(10):
        old = conversation_with(rig)
        put(rig, old, updated_at=rig.ago(11 * DAY))
        asked, removed = together(lambda: rig.ask(conversation_id=old), lambda: purge_slice(rig.engine, keeping))  # noqa: B023
        assert not isinstance(removed, Exception), removed
        assert isinstance(asked, lifecycle.Submitted | NotFound), asked
        if isinstance(asked, lifecycle.Submitted):
            shown = open_conversation(rig.engine, old, owner=OWNER)
            assert shown.active is not None
            assert shown.messages[-1].role == "user"


def test_worker_row_leaves_after_a_day(rig: RequestRig) -> None:
    alive, left_lately, left_long_ago, needed = (rig.worker() for _ in range(4))
    rig.running(worker_id=needed)
    for worker_id, ago in ((left_lately, 0.9 * DAY), (left_long_ago, 1.1 * DAY), (needed, 1.1 * DAY)):
        with rig.begin() as connection:
            connection.execute(
                update(worker).where(worker.c.id == worker_id).values(lost_at=rig.ago(ago), renewed_at=rig.ago(ago))
            )
    assert purged(rig) == {"worker": 1}
    assert {row["id"] for row in rig.rows(worker)} == {alive, left_lately, needed}
    rig.ticked(seconds_ago=2 * DAY)
    repairs = rig.tick_as_is()
    assert repairs.taken_back == 1, "its request is still taken back"


def test_worker_rows_outlive_the_models_that_the_page_offers() -> None:
    assert WORKER_DAYS * DAY >= fleet.REMEMBERED_SECONDS


def test_old_idempotency_key_is_cleared(rig: RequestRig) -> None:
    first = rig.ask(key="one")
    assert lifecycle.finish(rig.engine, rig.claim(first.request_id, rig.worker()), Answer(text="So."))
    rig.put(first.request_id, ended_at=rig.ago(6.9 * DAY))
    assert not purged(rig)
    assert not rig.ask(key="one", conversation_id=first.conversation_id).is_new, "a retry within the week"
    rig.put(first.request_id, ended_at=rig.ago(7.1 * DAY))
    assert purged(rig) == {"key": 1}
    assert rig.row(first.request_id)["idempotency_key"] is None
    assert not purged(rig)
    assert rig.ask(key="one", conversation_id=first.conversation_id).is_new


def test_key_of_an_active_request_stays(rig: RequestRig) -> None:
    asked = rig.ask(key="waits")
    rig.put(asked.request_id, created_at=rig.ago(90 * DAY))
    assert not purged(rig)
    assert not rig.ask(key="waits", conversation_id=asked.conversation_id).is_new


def test_checkpoints_leave_when_their_request_ends(rig: RequestRig) -> None:
    claimed = rig.running()
    assert lifecycle.release(rig.engine, claimed, text="Bec", outcome=Outcome.RELEASED, code="overloaded")
    again = rig.claim(claimed.request_id, rig.worker())
    with rig.begin() as connection:
        fleet.checkpoint(connection, again.worker_id, {(again.request_id, 2): "Because"})
    assert [row["checkpoint"] for row in attempts(rig)] == ["Bec", "Because"]
    assert lifecycle.finish(rig.engine, again, Answer(text="Because of Rayleigh."))
    assert [row["checkpoint"] for row in attempts(rig)] == ["", ""]
    assert rig.answer_of(claimed.request_id) == "Because of Rayleigh."


def test_text_of_a_silent_worker_moves_to_the_answer(rig: RequestRig) -> None:
    claimed = rig.running()
    with rig.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {(claimed.request_id, 1): "Bec"})
    rig.put(claimed.request_id, deadline_at=rig.ago(1))
    assert rig.tick().expired == 1
    assert rig.answer_of(claimed.request_id) == "Bec"
    assert [row["checkpoint"] for row in attempts(rig)] == [""]


def test_follower_gets_the_end_of_a_text_from_the_answer(rig: RequestRig) -> None:
    claimed = rig.running()
    known = Known(request_id=claimed.request_id, attempt=1, length=3, is_silent=False)
    (row,) = sweep(rig.engine, [claimed.conversation_id], known=[known])
    assert row.missed_text is None
    assert lifecycle.finish(rig.engine, claimed, Answer(text="Because."))
    (row,) = sweep(rig.engine, [claimed.conversation_id], known=[known])
    assert (row.is_ended, row.missed_text) == (True, "Because.")
    (row,) = sweep(rig.engine, [], known=[replace(known, length=8)])
    assert row.missed_text is None, "the follower has all of it"


def test_checkpoint_of_an_older_version_leaves_with_the_key(rig: RequestRig) -> None:
    request = rig.answered()
    with rig.begin() as connection:
        connection.execute(update(request_attempt).values(checkpoint="Because."))
    rig.put(request, ended_at=rig.ago(8 * DAY))
    assert purged(rig) == {"key": 1, "checkpoint": 1}
    assert [row["checkpoint"] for row in attempts(rig)] == [""]


def attempts(rig: RequestRig) -> list[dict[str, object]]:
    return sorted(rig.rows(request_attempt), key=lambda row: str(row["attempt"]))


def overdue(rig: RequestRig, keeping: Keeping = KEEPING) -> dict[Kind, float]:
    with rig.begin() as connection:
        return overdue_seconds(connection, keeping)


def spent_long_ago(rig: RequestRig, days: float) -> dict[str, object]:
    """Return a row of the sums of an hour `days` ago."""
    numbers = ("attempts", "input_tokens", "output_tokens", "cached_input_tokens", "cost", "unpriced", "estimated")
    return {"owner_id": OWNER.key, "hour": rig.ago(days * DAY), "model": "demo/echo", **dict.fromkeys(numbers, 1)}


def test_sums_of_spending_leave_in_the_end(rig: RequestRig) -> None:
    with rig.begin() as connection:
        connection.execute(insert(spending).values(spent_long_ago(rig, 399)))
        connection.execute(insert(spending).values({**spent_long_ago(rig, 401), "model": "demo/old"}))
    assert purged(rig) == {"spending": 1}
    assert [row["model"] for row in rig.rows(spending)] == ["demo/echo"]


def test_overdue_rows_are_found_by_kind(rig: RequestRig) -> None:
    assert overdue(rig) == dict.fromkeys(Kind, 0)
    deleted, old, fresh = (conversation_with(rig) for _ in range(3))
    put(rig, deleted, deleted_at=rig.ago(31 * DAY))
    put(rig, old, updated_at=rig.ago(12 * DAY))
    rig.put(rig.rows(chat_request, conversation_id=fresh)[0]["id"], ended_at=rig.ago(10 * DAY))
    with rig.begin() as connection:
        connection.execute(update(worker).values(lost_at=rig.ago(1.5 * DAY)))
        connection.execute(insert(spending).values(spent_long_ago(rig, 402)))
    found = overdue(rig, replace(KEEPING, conversation_days=10))
    days = {kind: round(seconds / DAY, 1) for kind, seconds in found.items()}
    expected = {Kind.DELETED: 1, Kind.OLD: 2, Kind.WORKERS: 0.5, Kind.KEYS: 3, Kind.SESSIONS: 0, Kind.SPENDING: 2}
    assert days == expected
    assert overdue(rig)[Kind.OLD] == 0, "without an age limit nothing is too old"
    purged(rig, replace(KEEPING, conversation_days=10))
    assert overdue(rig, replace(KEEPING, conversation_days=10)) == dict.fromkeys(Kind, 0)


def test_expired_sign_ins_leave(rig: RequestRig) -> None:
    person_id = uuid4()
    with rig.begin() as connection:
        connection.execute(insert(person).values(id=person_id, email="a@b", role="user", password_hash="x"))
        for number, (created, seen) in enumerate([(91, 1), (20, 15), (20, 1)]):
            values = {"created_at": rig.ago(created * DAY), "seen_at": rig.ago(seen * DAY)}
            values |= {"id": uuid4(), "token_hash": bytes([number]), "person_id": person_id}
            connection.execute(insert(session).values(device="", address="", **values))
        for number, days in enumerate((1, -1)):
            valid = {"token_hash": bytes([number]), "expires_at": rig.ago(days * DAY)}
            connection.execute(insert(link).values(kind="invitation", role="user", **valid))
            connection.execute(insert(sign_in_allowance).values(key=str(number), whole_at=rig.ago(days * DAY)))
            connection.execute(insert(guest_link).values(browser_id=uuid4(), **valid))
    assert round(overdue(rig)[Kind.SESSIONS] / DAY, 1) == 1
    assert purged(rig, rows=2) == {"session": 2, "link": 1, "guest_link": 1, "allowance": 1}
    assert overdue(rig)[Kind.SESSIONS] == 0
    assert [rig.count(table) for table in (person, session, link, guest_link, sign_in_allowance)] == [1] * 5


def test_one_process_purges_at_a_time(rig: RequestRig) -> None:
    put(rig, conversation_with(rig), deleted_at=rig.ago(31 * DAY))
    with rig.begin() as other:
        other.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        assert purge_slice(rig.engine, KEEPING) is None
    assert purge_slice(rig.engine, KEEPING), "the lock ended with its transaction"


def test_tick_does_not_wait_for_the_purge(rig: RequestRig) -> None:
    put(rig, conversation_with(rig), deleted_at=rig.ago(31 * DAY))
    lost = rig.running()
    with rig.begin() as purging:
        purging.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        purging.execute(conversation.delete().where(conversation.c.deleted_at.is_not(None)))
        assert rig.lose(lost.worker_id).taken_back == 1


def test_slow_slice_is_followed_by_a_smaller_one() -> None:
    assert next_rows(MOST_ROWS, 0.05) == MOST_ROWS
    assert next_rows(MOST_ROWS, 0.1) == MOST_ROWS // 2
    assert next_rows(MOST_ROWS, 60) == FEWEST_ROWS
    assert next_rows(100, 0.001) == 200, "it grows again"


def test_purge_thread_removes_what_is_due(rig: RequestRig, rig_settings: Settings) -> None:
    ids = [conversation_with(rig) for _ in range(3)]
    for each in ids[:2]:
        put(rig, each, deleted_at=rig.ago(31 * DAY))
    purge = Purge(rig.engine, replace(rig_settings, purge_seconds=0.1))
    purge.start()
    try:
        wait_until(lambda: rig.count(conversation) == 1)
    finally:
        purge.close()
    assert rig.rows(conversation)[0]["id"] == ids[2]


def test_every_foreign_key_leads_to_an_index() -> None:
    """Without one, deleting a row reads all of the table that points to it."""
    for table in metadata.tables.values():
        for key in table.foreign_keys:
            assert key.parent.name in leading_columns(table), f"{table.name}.{key.parent.name}"


def leading_columns(table: Table) -> set[str]:
    """Return the first column of each index that covers all rows."""
    whole = [index for index in table.indexes if index.dialect_options["postgresql"]["where"] is None]
    first = [next(iter(index.columns)).name for index in whole]
    return {*first, next(iter(table.primary_key.columns)).name}
