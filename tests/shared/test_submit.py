"""Tests of submit: a question is stored once, completely or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import update

from shared import conversations, lifecycle
from shared.errors import Empty, NaruError, NotFound, NothingToAnswer, StillRunning, TooLong, Unavailable, UnknownModel
from shared.lifecycle import Submitted
from shared.postgres import notify
from shared.postgres.database import make_engine
from shared.settings import load_settings
from shared.tables import Status, chat_request, conversation, message
from tests.patience import patient
from tests.shared.listening import Listener
from tests.shared.rig import OWNER, STRANGER, RequestRig
from tests.shared.round_trips import counted_round_trips
from tests.shared.together import together
from tests.stack import free_port


def test_submit_stores_a_question_with_its_request(rig: RequestRig) -> None:
    submitted = rig.ask("  Why is\n the sky blue? ", model="openai/gpt", deadline_seconds=60)
    assert submitted.is_new
    row = rig.row(submitted.request_id)
    assert (row["status"], row["attempt"], row["model"], row["owner_id"]) == ("queued", 0, "openai/gpt", OWNER.key)
    assert (submitted.lane, row["lane"], row["fair_at"] - row["created_at"] < timedelta(seconds=1)) == (
        "openai",
        "openai",
        True,
    )
    assert abs((row["deadline_at"] - row["created_at"]).total_seconds() - 60) < 1
    (question,) = rig.rows(message)
    assert (question["role"], question["content"]) == ("user", "Why is\n the sky blue?")
    assert question["id"] == row["user_message_id"]
    (made,) = rig.rows(conversation)
    assert (made["title"], made["leaf_id"], made["model"]) == ("Why is the sky blue?", question["id"], "openai/gpt")


def test_usual_question_takes_one_round_trip(rig: RequestRig) -> None:
    first = rig.ask("the connection prepares its statements")
    lifecycle.stop(rig.engine, first.request_id, owner=OWNER)
    for conversation_id in (uuid4(), first.conversation_id):
        with counted_round_trips() as round_trips:
            assert rig.ask(conversation_id=conversation_id).is_new
        assert len(round_trips) == 1


def test_same_key_finds_the_same_request(rig: RequestRig) -> None:
    first = rig.ask("Why?", key="k")
    again = rig.ask("Why, really?", conversation_id=first.conversation_id, key="k")
    elsewhere = rig.ask("Why?", key="k")
    expected = Submitted(request_id=first.request_id, conversation_id=first.conversation_id, is_new=False)
    assert (again, elsewhere) == (expected, expected)
    assert (rig.count(message), rig.count(chat_request)) == (1, 1)


def test_same_key_finds_an_ended_request(rig: RequestRig) -> None:
    first = rig.ask("Why?", key="k")
    lifecycle.stop(rig.engine, first.request_id, owner=OWNER)
    again = rig.ask("Why?", conversation_id=first.conversation_id, key="k")
    assert (again.request_id, again.is_new) == (first.request_id, False)
    assert rig.count(chat_request) == 1


def test_another_owner_may_use_the_same_key(rig: RequestRig) -> None:
    assert rig.ask(key="k").is_new
    assert rig.ask(key="k", owner=STRANGER).is_new


def test_double_click_makes_one_request(rig: RequestRig) -> None:
    for _ in range(20):
        conversation_id, key = uuid4(), str(uuid4())
        both = together(*[lambda: rig.ask(conversation_id=conversation_id, key=key)] * 2)  # noqa: B023
        results = [each for each in both if isinstance(each, Submitted)]
        assert len(results) == 2, both
        assert sorted(each.is_new for each in results) == [False, True]
        assert results[0].request_id == results[1].request_id
    assert rig.stored() == (20, 20, 20)


def test_second_of_two_concurrent_questions_is_refused(rig: RequestRig) -> None:
    for _ in range(20):
        conversation_id = uuid4()
        both = together(*[lambda: rig.ask(conversation_id=conversation_id)] * 2)  # noqa: B023
        (stored,) = [each for each in both if isinstance(each, Submitted)]
        (refused,) = [each for each in both if isinstance(each, StillRunning)]
        assert refused.request_id == stored.request_id, "the error names the running request"
    assert rig.stored() == (20, 20, 20), "nothing of a refused question is stored"


def test_same_key_in_two_conversations_makes_one_request(rig: RequestRig) -> None:
    for _ in range(10):
        key = str(uuid4())
        both = together(*[lambda: rig.ask(key=key)] * 2)  # noqa: B023
        assert len({each.request_id for each in both if isinstance(each, Submitted)}) == 1, both
    assert (rig.count(message), rig.count(chat_request)) == (10, 10)


def test_running_answer_refuses_the_next_question(rig: RequestRig) -> None:
    claimed = rig.running()
    before = rig.stored()
    with pytest.raises(StillRunning) as refused:
        rig.ask("And why?", conversation_id=claimed.conversation_id)
    assert refused.value.request_id == claimed.request_id
    assert rig.stored() == before


def test_question_does_not_wait_for_a_concurrent_end(rig: RequestRig) -> None:
    """An end locks the request's row, then the conversation's; a question must not lock them in the other order."""
    claimed = rig.running()
    with ThreadPoolExecutor(1) as pool, rig.begin() as ending:
        row = chat_request.c.id == claimed.request_id
        ending.execute(update(chat_request).where(row).values(first_token_at=rig.ago(0)))
        asked = pool.submit(rig.ask, conversation_id=claimed.conversation_id)
        assert isinstance(asked.exception(timeout=patient(5)), StillRunning)
        ending.execute(update(conversation).values(updated_at=rig.ago(0)))


def test_concurrent_questions_and_ends_never_deadlock(rig: RequestRig) -> None:
    worker_id = rig.worker()
    for _ in range(20):
        claimed = rig.running(worker_id=worker_id)
        ended, asked = together(
            lambda: lifecycle.finish(rig.engine, claimed, lifecycle.Answer(text="x")),  # noqa: B023
            lambda: rig.ask(conversation_id=claimed.conversation_id),  # noqa: B023
        )
        assert ended is True
        assert isinstance(asked, Submitted | StillRunning), asked


@pytest.mark.parametrize(
    ("words", "error"), [("", Empty), (" \n\t ", Empty), ("x" * 1001, TooLong), ("나" * 1001, TooLong)]
)
def test_submit_rejects_invalid_questions(rig: RequestRig, words: str, error: type[NaruError]) -> None:
    with pytest.raises(error):
        rig.ask(words)
    assert rig.stored() == (0, 0, 0)


def test_question_limit_counts_characters_inclusively(rig: RequestRig) -> None:
    rig.ask(" " + "나" * 1000 + " ")
    with pytest.raises(TooLong) as refused:
        rig.ask("나" * 1001)
    assert (refused.value.length, refused.value.limit) == (1001, 1000)


def test_characters_postgres_rejects_are_replaced(rig: RequestRig) -> None:
    rig.ask("a\x00b\ud83dc\U0001f600\udc00")
    assert rig.rows(message)[0]["content"] == "a\ufffdb\ufffdc\U0001f600\ufffd"


@pytest.mark.parametrize(
    ("words", "title"),
    [("a" * 60, "a" * 60), ("a" * 61, "a" * 59 + "…"), ("a" * 58 + " bcd", "a" * 58 + "…"), ("a\n\tb", "a b")],
)
def test_title_is_the_beginning_of_the_first_question(rig: RequestRig, words: str, title: str) -> None:
    submitted = rig.ask(words)
    assert rig.rows(conversation)[0]["title"] == title
    lifecycle.stop(rig.engine, submitted.request_id, owner=OWNER)
    rig.ask("Something else", conversation_id=submitted.conversation_id)
    assert rig.rows(conversation)[0]["title"] == title


def test_another_owners_conversation_is_not_found(rig: RequestRig) -> None:
    theirs = rig.ask().conversation_id
    before = rig.stored()
    with pytest.raises(NotFound):
        rig.ask(conversation_id=theirs, owner=STRANGER)
    assert rig.stored() == before


def test_deleted_conversation_takes_no_question(rig: RequestRig) -> None:
    submitted = rig.ask()
    lifecycle.stop(rig.engine, submitted.request_id, owner=OWNER)
    conversations.delete(rig.engine, submitted.conversation_id, owner=OWNER)
    with pytest.raises(NotFound):
        rig.ask(conversation_id=submitted.conversation_id)


def test_regenerating_nothing_is_refused_and_leaves_nothing(rig: RequestRig) -> None:
    with pytest.raises(NothingToAnswer):
        rig.ask("", regenerate=True)
    assert rig.stored() == (0, 0, 0)


def test_chosen_model_stays_with_the_conversation(rig: RequestRig) -> None:
    submitted = rig.ask(model="openai/one")
    for model, kept in (("", "openai/one"), ("openai/two", "openai/two")):
        lifecycle.stop(rig.engine, rig.rows(chat_request, status=Status.QUEUED)[0]["id"], owner=OWNER)
        rig.ask(conversation_id=submitted.conversation_id, model=model)
        assert rig.rows(conversation)[0]["model"] == kept


def test_only_a_stored_question_notifies_workers(rig: RequestRig) -> None:
    with Listener(rig.engine, notify.REQUEST, over=rig.listening) as listener:
        submitted = rig.ask()
        with pytest.raises(StillRunning):
            rig.ask(conversation_id=submitted.conversation_id)
        again = rig.ask(key="k2")
        heard = [listener.next(), listener.next()]
        assert listener.silent()
    assert [each and each.request_id for each in heard] == [submitted.request_id, again.request_id]
    assert heard[0] is not None
    assert heard[0].conversation_id == submitted.conversation_id


def test_submit_without_postgres_raises_unavailable(rig: RequestRig) -> None:
    gone = make_engine(load_settings({"DATABASE_URL": f"postgresql://x:y@127.0.0.1:{free_port()}/z"}), name="test")
    with pytest.raises(Unavailable):
        RequestRig(gone).ask()


def test_model_without_a_worker_is_refused(rig: RequestRig) -> None:
    assert rig.ask(model="anything/at-all")
    rig.worker("demo/simulator")
    assert rig.ask(model="demo/simulator")
    with pytest.raises(UnknownModel):
        rig.ask(model="an unknown label")
