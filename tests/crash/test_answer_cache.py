"""The answer cache with real workers: what is given again, what never is, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from shared import lifecycle
from shared.conversations import conversations
from shared.lifecycle import Question
from shared.operating.figures import cache_use_of
from shared.people import Owner
from shared.postgres.database import make_engine, transaction
from shared.retention.erasure import erase
from shared.tables import Status
from tests.stack import Stack, wait_until

ADA, BEN = Owner.browser(uuid4()), Owner.browser(uuid4())
ASKED = "[[sim: tokens=10 pace=0 first=0]] Tell me."
MODEL = "openai/one"


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """A stack whose worker gives earlier answers again, at a cent per token."""
    simulator = module_stack.start_simulator()
    module_stack.configure(
        openai_api_key="sk-test",
        openai_base_url=f"{simulator.url}/v1",
        models="openai/one,openai/two",
        prices="openai/one=10000/10000,openai/two=10000/10000",
        money_per_month=1000,
        owner_questions_per_minute=0,
    )
    module_stack.start_worker(answer_cache_seconds=3600)
    return module_stack


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database."""
    return make_engine(stack.settings, name="test")


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE conversation, spending CASCADE"))


def ask(engine: Engine, owner: Owner = ADA, words: str = ASKED, **values: Any) -> Any:
    """Ask in a new conversation, and return the ended request with its text."""
    given = {"conversation_id": uuid4(), "text": words, "model": MODEL, **values}
    question = Question(owner=owner, idempotency_key=uuid4().hex, **given)
    submitted = lifecycle.submit(engine, question, deadline_seconds=60, max_characters=10_000)
    return ended(engine, submitted.request_id)


def ended(engine: Engine, request_id: UUID) -> Any:
    found = text(
        "SELECT r.*, m.content, (SELECT sum(a.cost) FROM request_attempt a WHERE a.request_id = r.id) AS cost,"
        " (SELECT count(*) FROM request_attempt a WHERE a.reserved_tokens > 0 AND a.request_id = r.id) AS reserved"
        " FROM chat_request r JOIN message m ON m.request_id = r.id WHERE r.id = :id"
    )

    def look() -> Any:
        with transaction(engine) as connection:
            return connection.execute(found, {"id": request_id}).one_or_none()

    return wait_until(look, what="the answer", seconds=30)


def spent(engine: Engine) -> int:
    with transaction(engine) as connection:
        return int(connection.execute(text("SELECT coalesce(sum(attempts), 0) FROM spending")).scalar_one())


def test_answer_given_again_tells_what_was_left_out(engine: Engine) -> None:
    first = ask(engine)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE chat_request SET left_out = 2 WHERE id = :id"), {"id": first.id})
    again = ask(engine)
    assert again.earlier_answer_at == first.ended_at
    assert (again.content, again.left_out) == (first.content, 2)


def test_same_prompt_gets_the_earlier_answer(stack: Stack, engine: Engine) -> None:
    first, again = ask(engine), ask(engine)
    assert first.earlier_answer_at is None
    assert (again.status, again.content) == (Status.SUCCEEDED, first.content)
    assert again.earlier_answer_at == first.ended_at
    assert (again.input_tokens, again.output_tokens, again.cost, again.reserved) == (None, None, 0, 0)
    assert first.cost > 0
    calls = stack.calls_log.read_text()
    assert (str(first.id) in calls, str(again.id) in calls) == (True, False), "the provider was not called"
    assert spent(engine) == 1
    third = ask(engine)
    assert third.earlier_answer_at == first.ended_at, "the answer itself, not what was given again"


def test_page_knows_the_time_of_the_earlier_answer(engine: Engine) -> None:
    first, again = ask(engine), ask(engine)
    opened = conversations.open_conversation(engine, again.conversation_id, owner=ADA)
    end = opened.messages[-1].end
    assert end is not None
    assert end.earlier_answer_at == first.ended_at


def test_another_person_gets_no_earlier_answer(engine: Engine) -> None:
    ask(engine, ADA)
    assert ask(engine, BEN).earlier_answer_at is None
    assert spent(engine) == 2


def test_other_prompts_get_no_earlier_answer(engine: Engine) -> None:
    first = ask(engine)
    others = [
        ask(engine, words=ASKED + "."),
        ask(engine, model="openai/two"),
        ask(engine, conversation_id=first.conversation_id),
    ]
    assert [each.earlier_answer_at for each in others] == [None] * 3


def test_whole_branch_is_compared(engine: Engine) -> None:
    first, second = ask(engine), ask(engine)
    follow = [ask(engine, words="And then?", conversation_id=each.conversation_id) for each in (first, second)]
    assert follow[1].earlier_answer_at == follow[0].ended_at
    assert follow[1].content == follow[0].content


def test_regenerate_asks_afresh(engine: Engine) -> None:
    ask(engine)
    again = ask(engine)
    fresh = ask(engine, conversation_id=again.conversation_id, words="", regenerate=True)
    assert again.earlier_answer_at is not None
    assert fresh.earlier_answer_at is None
    assert spent(engine) == 2
    assert ask(engine).earlier_answer_at == fresh.ended_at, "the newest answer counts"


def test_answer_that_was_cut_off_is_not_given_again(engine: Engine) -> None:
    words = "[[sim: tokens=10 pace=0 first=0 finish=length]] Tell me."
    assert ask(engine, words=words).finish == "length"
    assert ask(engine, words=words).earlier_answer_at is None


def test_deleted_chat_is_not_given_again(engine: Engine) -> None:
    first = ask(engine)
    conversations.delete(engine, first.conversation_id, owner=ADA)
    assert ask(engine).earlier_answer_at is None


def test_erased_person_leaves_nothing_to_give_again(engine: Engine) -> None:
    ask(engine)
    erase(engine, ADA, stop_patience_seconds=5)
    assert ask(engine).earlier_answer_at is None


def test_old_answer_is_not_given_again(engine: Engine) -> None:
    ask(engine)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE chat_request SET ended_at = ended_at - interval '2 hours'"))
    assert ask(engine).earlier_answer_at is None


def test_hits_and_misses_are_counted(engine: Engine) -> None:
    ask(engine)
    ask(engine)
    use = cache_use_of(engine, ADA)
    assert (use.asked, use.hits) == (2, 1)
    assert cache_use_of(engine, BEN) == replace(use, asked=0, hits=0)


def test_option_that_is_off_stores_no_hash(own_stack: Stack) -> None:
    own_stack.start_simulator()
    own_stack.start_worker()
    engine = make_engine(own_stack.settings, name="test")
    answers = [ask(engine, model="") for _ in range(2)]
    assert [(each.prompt_hash, each.earlier_answer_at) for each in answers] == [(None, None)] * 2
    engine.dispose()
