"""Tests of conversations: their owner sees the branch, and nobody else does."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, update

from shared import conversations, lifecycle
from shared.conversations import Opened
from shared.errors import NotFound
from shared.lifecycle import Answer
from shared.messages import RequestEnd
from shared.postgres.database import transaction
from shared.tables import Outcome, Status, conversation, message
from tests.shared.rig import MODEL, OWNER, STRANGER, RequestRig


def opened(rig: RequestRig, conversation_id: UUID, *, limit: int = 30) -> Opened:
    return conversations.open_conversation(rig.engine, conversation_id, owner=OWNER, limit=limit)


def texts(of: Opened) -> list[str]:
    return [each.text for each in of.messages]


def fill(rig: RequestRig, turns: int) -> UUID:
    """Store a conversation of `turns` questions and answers, q1 a1 q2 a2 …, and return its id."""
    conversation_id, worker_id = uuid4(), rig.worker()
    for turn in range(1, turns + 1):
        asked = rig.ask(f"q{turn}", conversation_id=conversation_id).request_id
        assert lifecycle.finish(rig.engine, rig.claim(asked, worker_id), Answer(text=f"a{turn}"))
    return conversation_id


def test_open_returns_an_empty_conversation_for_an_unknown_id(rig: RequestRig) -> None:
    conversation_id = uuid4()
    empty = opened(rig, conversation_id)
    assert (empty.id, empty.exists, empty.messages, empty.has_earlier, empty.active) == (
        conversation_id,
        False,
        (),
        False,
        None,
    )
    assert not conversations.check_owner(rig.engine, conversation_id, owner=OWNER)
    assert rig.count(conversation) == 0, "reading creates no conversation"


def test_thread_shows_a_running_question_with_its_request(rig: RequestRig) -> None:
    submitted = rig.ask("q1", model="openai/gpt")
    seen = opened(rig, submitted.conversation_id)
    assert (seen.exists, seen.title, seen.model, texts(seen)) == (True, "q1", "openai/gpt", ["q1"])
    assert seen.active is not None
    assert (seen.active.request_id, seen.active.status, seen.active.attempt) == (
        submitted.request_id,
        Status.QUEUED,
        0,
    )
    rig.put(submitted.request_id, model=MODEL)
    rig.claim(submitted.request_id, rig.worker())
    seen = opened(rig, submitted.conversation_id)
    assert seen.active is not None
    assert (seen.active.status, seen.active.attempt, seen.active.model) == (Status.RUNNING, 1, MODEL)


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED])
def test_answer_carries_the_end_of_its_request(rig: RequestRig, status: Status) -> None:
    claimed = rig.running("q")
    answer = Answer(text="a", finish="stop", left_out=4)
    if status is Status.SUCCEEDED:
        assert lifecycle.finish(rig.engine, claimed, answer)
    if status is Status.FAILED:
        assert lifecycle.fail(rig.engine, claimed, answer, code="auth_failed")
    if status is Status.CANCELLED:
        lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER)
        assert lifecycle.cancel(rig.engine, claimed, answer)
    seen = opened(rig, claimed.conversation_id)
    question, reply = seen.messages
    assert (question.role, question.request_id, question.end) == ("user", None, None)
    assert (reply.role, reply.text, reply.request_id) == ("assistant", "a", claimed.request_id)
    code = "auth_failed" if status is Status.FAILED else None
    assert reply.end == RequestEnd(status=status, error_code=code, finish="stop", model=MODEL, attempt=1, left_out=4)
    assert seen.active is None


@pytest.mark.parametrize(
    ("limit", "shown", "earlier"),
    [(1, ["a3"], True), (5, ["a1", "q2", "a2", "q3", "a3"], True), (6, ["q1", "a1", "q2", "a2", "q3", "a3"], False)],
)
def test_open_returns_newest_messages_and_marks_earlier(
    rig: RequestRig, limit: int, shown: list[str], *, earlier: bool
) -> None:
    seen = opened(rig, fill(rig, 3), limit=limit)
    assert (texts(seen), seen.has_earlier) == (shown, earlier)


def test_five_hundred_messages_come_in_order(rig: RequestRig) -> None:
    conversation_id = fill(rig, 2)
    (leaf,) = rig.rows(conversation)
    rig.lengthen(conversation_id, 496)
    seen = opened(rig, conversation_id, limit=500)
    assert len(seen.messages) == 500
    assert texts(seen)[:5] == ["q1", "a1", "q2", "a2", "m1"]
    assert texts(seen)[-1] == "m496"
    assert not seen.has_earlier
    few = opened(rig, conversation_id)
    assert (texts(few)[0], few.has_earlier) == ("m467", True)
    assert leaf["leaf_id"] != rig.rows(conversation)[0]["leaf_id"]


def test_regenerating_makes_a_sibling_and_shows_it(rig: RequestRig) -> None:
    conversation_id, worker_id = fill(rig, 2), rig.worker()
    again = rig.ask("", conversation_id=conversation_id, regenerate=True)
    assert texts(opened(rig, conversation_id)) == ["q1", "a1", "q2"], "the old answer is hidden"
    claimed = rig.claim(again.request_id, worker_id)
    assert [each.text for each in claimed.branch] == ["q1", "a1", "q2"], "the model does not see its other answer"
    assert lifecycle.finish(rig.engine, claimed, Answer(text="a2 again"))
    assert texts(opened(rig, conversation_id)) == ["q1", "a1", "q2", "a2 again"]
    siblings = [row for row in rig.rows(message) if row["parent_id"] == claimed.user_message_id]
    assert sorted(row["content"] for row in siblings) == ["a2", "a2 again"]
    rig.ask("q3", conversation_id=conversation_id)
    assert texts(opened(rig, conversation_id))[-2:] == ["a2 again", "q3"], "the branch continues from the new answer"


def test_regenerating_twice_with_one_key_makes_one_request(rig: RequestRig) -> None:
    conversation_id = fill(rig, 1)
    first = rig.ask("", conversation_id=conversation_id, regenerate=True, key="k")
    again = rig.ask("", conversation_id=conversation_id, regenerate=True, key="k")
    assert (again.request_id, again.is_new) == (first.request_id, False)


def test_failed_question_is_answered_again(rig: RequestRig) -> None:
    claimed = rig.running("q")
    lifecycle.fail(rig.engine, claimed, Answer(text=""), code="auth_failed")
    again = rig.ask("", conversation_id=claimed.conversation_id, regenerate=True)
    assert lifecycle.finish(rig.engine, rig.claim(again.request_id, rig.worker()), Answer(text="a"))
    assert texts(opened(rig, claimed.conversation_id)) == ["q", "a"]


@pytest.mark.parametrize("state", ["another's", "deleted"])
def test_no_query_finds_foreign_or_deleted_conversations(rig: RequestRig, state: str) -> None:
    conversation_id, owner = fill(rig, 1), OWNER
    if state == "deleted":
        conversations.delete(rig.engine, conversation_id, owner=OWNER)
    else:
        owner = STRANGER
    before = rig.rows(conversation), rig.stored()
    for read in (
        lambda: conversations.open_conversation(rig.engine, conversation_id, owner=owner),
        lambda: conversations.check_owner(rig.engine, conversation_id, owner=owner),
        lambda: conversations.rename(rig.engine, conversation_id, owner=owner, title="x"),
        lambda: conversations.delete(rig.engine, conversation_id, owner=owner),
        lambda: rig.ask(conversation_id=conversation_id, owner=owner),
    ):
        with pytest.raises(NotFound):
            read()
    assert conversations.list_conversations(rig.engine, owner=owner) == []
    assert before == (rig.rows(conversation), rig.stored())


@pytest.mark.parametrize("verb", [conversations.delete, lambda *a, **k: conversations.rename(*a, **k, title="x")])
def test_unknown_conversation_cannot_be_changed(rig: RequestRig, verb: object) -> None:
    assert callable(verb)
    with pytest.raises(NotFound):
        verb(rig.engine, uuid4(), owner=OWNER)


@pytest.mark.parametrize(
    ("title", "kept"),
    [("  A\n new   one ", "A new one"), ("", "q1"), (" \n", "q1"), ("나" * 300, "나" * 200), ("a\x00b", "a\ufffdb")],
)
def test_rename_stores_a_clean_title(rig: RequestRig, title: str, kept: str) -> None:
    conversation_id = fill(rig, 1)
    conversations.rename(rig.engine, conversation_id, owner=OWNER, title=title)
    assert opened(rig, conversation_id).title == kept


def test_list_shows_the_owners_used_chats_newest_first(rig: RequestRig) -> None:
    first, second = fill(rig, 1), fill(rig, 1)
    rig.ask(owner=STRANGER)
    third = rig.ask("q3", key="k").conversation_id
    rig.ask("q3", key="k")  # the same request again: it leaves an empty conversation
    listed = conversations.list_conversations(rig.engine, owner=OWNER)
    assert [each.id for each in listed] == [third, second, first]
    rig.ask("more", conversation_id=first)
    assert [each.id for each in conversations.list_conversations(rig.engine, owner=OWNER, limit=2)] == [
        first,
        third,
    ]


def test_pages_of_the_list_give_each_conversation_once(rig: RequestRig) -> None:
    """Some conversations have the same time; only their ids order them."""
    made = [rig.ask().conversation_id for _ in range(7)]
    with transaction(rig.engine) as connection:
        connection.execute(update(conversation).where(conversation.c.id.in_(made[2:])).values(updated_at=func.now()))
    pages, after = [], None
    while page := conversations.list_conversations(rig.engine, owner=OWNER, after=after, limit=2):
        pages.append([each.id for each in page])
        after = page[-1]
    whole = [each.id for each in conversations.list_conversations(rig.engine, owner=OWNER)]
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert [each for page in pages for each in page] == whole
    assert set(whole) == set(made)


def test_answer_ends_in_a_deleted_conversation(rig: RequestRig) -> None:
    claimed = rig.running()
    conversations.delete(rig.engine, claimed.conversation_id, owner=OWNER)
    assert lifecycle.cancel(rig.engine, claimed, Answer(text="a"))
    assert rig.row(claimed.request_id)["status"] == "cancelled"


def test_reader_sees_each_question_active_or_answered(rig: RequestRig) -> None:
    worker_id, over = rig.worker(), threading.Event()
    conversation_id = uuid4()
    rig.ask("first", conversation_id=conversation_id)
    seen: list[Opened] = []

    def look() -> None:
        while not over.is_set():
            seen.append(opened(rig, conversation_id))

    looking = threading.Thread(target=look)
    looking.start()
    for turn in range(25):
        current = opened(rig, conversation_id).active
        assert current is not None
        claimed = rig.claim(current.request_id, worker_id)
        if turn % 3 == 0:
            lifecycle.release(rig.engine, claimed, text="", outcome=Outcome.HANDED_OVER)
            claimed = rig.claim(current.request_id, worker_id)
        assert lifecycle.finish(rig.engine, claimed, Answer(text="a"))
        rig.ask("next", conversation_id=conversation_id)
    over.set()
    looking.join()
    silent = [each for each in seen if each.active is None and each.messages[-1].role == "user"]
    doubled = [each for each in seen if each.active is not None and each.messages[-1].role == "assistant"]
    assert (len(silent), len(doubled)) == (0, 0), f"in {len(seen)} reads"


def test_delete_stops_running_answers(rig: RequestRig) -> None:
    claimed = rig.running()
    conversations.delete(rig.engine, claimed.conversation_id, owner=OWNER)
    assert rig.row(claimed.request_id)["stop_requested_at"] is not None
