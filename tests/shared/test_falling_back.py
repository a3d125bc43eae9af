"""Tests of the fallback: which requests move to another model's lane, when, and what is stored with them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from shared import fleet, lifecycle
from shared.conversations import open_conversation
from shared.errors import UNSERVED
from shared.following.phases import State, state_of, told_apart
from shared.following.sweep import sweep
from shared.lifecycle import Answer, Claimed, Detour, lanes, rates
from shared.lifecycle.diverting import DIVERTED_AT_ONCE
from shared.lifecycle.falling_back import PATIENCE_SECONDS
from shared.people import Owner, groups
from shared.settings import LOCAL, REFUSE, Settings
from shared.spending import limits
from shared.spending.values import Limits, Spent
from shared.tables import Outcome, Status, chat_request, spending, worker
from tests.shared.rig import OWNER, RequestRig, make_person
from tests.shared.together import together

FIRST, SECOND, THIRD = "openai/first", "anthropic/second", "local/third"
DETOUR = Detour(models=(SECOND, THIRD))
GUESTS = Settings()


@pytest.fixture
def claimed(rig: RequestRig) -> Claimed:
    """A request for the first model that runs, with a worker that offers all three."""
    lanes.register(rig.engine, ["openai", "anthropic", "local"], {})
    worker_id = rig.worker(FIRST, SECOND, THIRD)
    rig.ask(model=FIRST)
    found = rig.claim_from("openai", worker_id, models=(FIRST, SECOND, THIRD))
    assert found is not None
    return found


def falls_back(rig: RequestRig, claimed: Claimed, detour: Detour = DETOUR, **options: Any) -> str | None:
    """Let the request fall back, by default as in a house without accounts."""
    settings = options.pop("settings", GUESTS)
    return lifecycle.fall_back(rig.engine, claimed, detour, settings, **{"code": "overloaded", **options})


def close_lane(rig: RequestRig, name: str, *, times: int = 2, wait_seconds: float = 60.0) -> None:
    """Open the breaker of a provider."""
    for _ in range(times):
        lifecycle.record_failure(
            rig.engine,
            name,
            code="connect_failed",
            asks_to_slow_down=False,
            wait_seconds=wait_seconds,
            was_probe=False,
        )


def test_request_waits_in_the_other_lane_with_its_place(rig: RequestRig, claimed: Claimed) -> None:
    before = rig.row(claimed.request_id)
    assert falls_back(rig, claimed) == "anthropic"
    row = rig.row(claimed.request_id)
    assert (row["status"], row["model"], row["lane"]) == (Status.QUEUED, SECOND, "anthropic")
    assert (row["asked_model"], row["asked_code"]) == (FIRST, "overloaded")
    assert (row["fair_at"], row["worker_id"], row["wait_code"]) == (before["fair_at"], None, None)
    assert rig.attempt(claimed.request_id, 1)["outcome"] == Outcome.FELL_BACK
    assert rig.claim_from("openai", rig.worker(FIRST), models=(FIRST,)) is None
    again = rig.claim_from("anthropic", rig.worker(SECOND), models=(SECOND,))
    assert again is not None
    assert (again.model, again.asked_model, again.attempt) == (SECOND, FIRST, 2)


def test_second_fallback_keeps_the_choice_and_the_first_reason(rig: RequestRig, claimed: Claimed) -> None:
    assert falls_back(rig, claimed, code="quota_exhausted")
    again = rig.claim_from("anthropic", rig.worker(SECOND), models=(SECOND,))
    assert again is not None
    assert falls_back(rig, again, Detour(models=(THIRD,))) == "local"
    row = rig.row(claimed.request_id)
    assert (row["model"], row["asked_model"], row["asked_code"]) == (THIRD, FIRST, "quota_exhausted")


def test_lost_or_stopped_request_does_not_move(rig: RequestRig, claimed: Claimed) -> None:
    lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER)
    assert falls_back(rig, claimed) is None
    assert lifecycle.cancel(rig.engine, claimed, Answer(text=""))
    assert falls_back(rig, claimed) is None
    assert rig.row(claimed.request_id)["model"] == FIRST


def test_each_model_is_paid_for_what_it_used(rig: RequestRig, claimed: Claimed) -> None:
    wasted = Spent(input_tokens=10, output_tokens=0, cost=Decimal("0.5"))
    assert falls_back(rig, claimed, code="first_token_timeout", spent=wasted)
    again = rig.claim_from("anthropic", rig.worker(SECOND), models=(SECOND,))
    assert again is not None
    used = Spent(input_tokens=7, output_tokens=3, cost=Decimal("0.25"))
    assert lifecycle.finish(rig.engine, again, Answer(text="So.", spent=used))
    costs = {row["model"]: (row["input_tokens"], row["cost"]) for row in rig.rows(spending)}
    assert costs == {FIRST: (10, Decimal("0.5")), SECOND: (7, Decimal("0.25"))}


def test_conversation_keeps_the_model_that_was_chosen(rig: RequestRig, claimed: Claimed) -> None:
    assert falls_back(rig, claimed)
    again = rig.claim_from("anthropic", rig.worker(SECOND), models=(SECOND,))
    assert again is not None
    assert lifecycle.finish(rig.engine, again, Answer(text="So."))
    opened = open_conversation(rig.engine, claimed.conversation_id, owner=OWNER)
    end = opened.messages[-1].end
    assert opened.model == FIRST
    assert end is not None
    assert (end.model, end.asked_model, end.asked_code) == (SECOND, FIRST, "overloaded")


def test_model_with_an_open_breaker_comes_last(rig: RequestRig, claimed: Claimed) -> None:
    close_lane(rig, "anthropic")
    assert falls_back(rig, claimed, Detour(models=(SECOND,)), only_open=True) is None
    assert falls_back(rig, claimed) == "local"


def test_model_that_nobody_offers_is_passed_over(rig: RequestRig, claimed: Claimed) -> None:
    assert falls_back(rig, claimed, Detour(models=("gone/model",))) is None
    assert falls_back(rig, claimed, Detour(models=("gone/model", THIRD))) == "local"


def owned(rig: RequestRig, owner: Owner) -> Claimed:
    """Return a running request of this owner."""
    lanes.register(rig.engine, ["openai", "anthropic", "local"], {})
    rig.ask(model=FIRST, owner=owner)
    found = rig.claim_from("openai", rig.worker(FIRST, SECOND, THIRD), models=(FIRST,))
    assert found is not None
    return found


def test_reserved_model_is_for_its_group_only(rig: RequestRig) -> None:
    kim, lee = make_person(rig.engine), make_person(rig.engine, "research")
    groups.set_models(rig.engine, groups.group_with(rig.engine, "research").id, ["anthropic/*"])
    assert falls_back(rig, owned(rig, kim), settings=Settings(auth=LOCAL)) == "local"
    assert falls_back(rig, owned(rig, lee), settings=Settings(auth=LOCAL)) == "anthropic"


def test_refused_price_is_not_fallen_back_to(rig: RequestRig, claimed: Claimed) -> None:
    strict, unpriced = Settings(unknown_price=REFUSE), Detour(models=(SECOND, THIRD), unpriced=frozenset({SECOND}))
    with rig.begin() as connection:
        limits.set_limits(connection, OWNER.key, Limits(money_per_month=Decimal(10)))
    assert falls_back(rig, claimed, unpriced, settings=strict) == "local"


def test_model_without_a_price_serves_whom_no_money_limits(rig: RequestRig, claimed: Claimed) -> None:
    unpriced = Detour(models=(SECOND, THIRD), unpriced=frozenset({SECOND}))
    assert falls_back(rig, claimed, unpriced, settings=Settings(unknown_price=REFUSE)) == "anthropic"


def serve(rig: RequestRig, *models: str, room: int = 10, for_seconds: float = 60) -> UUID:
    """Register a worker with this room in each lane, as if it had been there for a time."""
    worker_id = rig.worker(*models)
    free = dict.fromkeys([*models, *(model.partition("/")[0] for model in models)], room)
    with rig.begin() as connection:
        assert fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free=free)
        connection.execute(update(worker).values(started_at=rig.ago(for_seconds)))
    return worker_id


def waiting(rig: RequestRig, *offered: str) -> UUID:
    """Return a request that waits for the first model, with a worker that offers these."""
    lanes.register(rig.engine, ["openai", "anthropic", "local"], {})
    request_id = rig.ask(model=FIRST).request_id
    serve(rig, *offered)
    return request_id


def ask_many(rig: RequestRig, number: int, *, model: str = FIRST) -> list[UUID]:
    """Let so many people ask one question each."""
    return [rig.ask(model=model, owner=Owner("browser", f"{model} {n}")).request_id for n in range(number)]


def diverted(rig: RequestRig, detours: dict[str, Detour] | None = None, **options: Any) -> dict[UUID, str]:
    """Run one look, by default of a worker that offers none of the models."""
    return lifecycle.divert(rig.engine, detours or {FIRST: DETOUR}, options.pop("settings", GUESTS), **options)


def test_waiting_request_is_diverted_from_a_closed_lane(rig: RequestRig) -> None:
    request_id = waiting(rig, FIRST, SECOND)
    assert diverted(rig) == {}
    close_lane(rig, "openai")
    assert diverted(rig) == {request_id: "anthropic"}
    row = rig.row(request_id)
    assert (row["asked_model"], row["asked_code"], row["attempt"]) == (FIRST, "connect_failed", 0)
    assert diverted(rig) == {}


def test_short_pause_diverts_nobody(rig: RequestRig) -> None:
    waiting(rig, FIRST, SECOND)
    close_lane(rig, "openai", wait_seconds=1.0)
    assert diverted(rig) == {}


def test_waiting_request_is_diverted_from_a_model_that_is_gone(rig: RequestRig) -> None:
    request_id = waiting(rig, SECOND)
    assert diverted(rig, here=[FIRST]) == {}
    assert diverted(rig) == {request_id: "anthropic"}
    assert rig.row(request_id)["asked_code"] == UNSERVED


def test_model_that_is_gone_for_an_instant_keeps_its_queue(rig: RequestRig) -> None:
    """The questions have waited for others, not for the model."""
    rig.put(waiting(rig, SECOND), available_at=rig.ago(10))
    rig.expire_lease(gone := serve(rig, FIRST))
    with rig.begin() as connection:
        connection.execute(update(worker).where(worker.c.id == gone).values(renewed_at=rig.ago(2)))
    assert diverted(rig) == {}
    with rig.begin() as connection:
        connection.execute(update(worker).where(worker.c.id == gone).values(renewed_at=rig.ago(PATIENCE_SECONDS + 1)))
    assert len(diverted(rig)) == 1


def test_fleet_that_has_just_begun_diverts_nobody(rig: RequestRig) -> None:
    waiting(rig, SECOND)
    with rig.begin() as connection:
        connection.execute(update(worker).values(started_at=rig.ago(1)))
    assert diverted(rig) == {}


def test_request_whose_text_was_seen_stays(rig: RequestRig) -> None:
    request_id = waiting(rig, FIRST, SECOND)
    close_lane(rig, "openai")
    rig.put(request_id, broken_streams=1)
    assert diverted(rig) == {}


@pytest.mark.parametrize("why", ["drain", "give_back"])
def test_text_that_was_seen_in_an_earlier_attempt_counts(rig: RequestRig, why: str) -> None:
    request_id = waiting(rig, FIRST, SECOND)
    worker_id = serve(rig, FIRST, SECOND)
    first = rig.claim_from("openai", worker_id, models=(FIRST,))
    assert first is not None
    with rig.begin() as connection:
        fleet.checkpoint(connection, worker_id, {(request_id, 1): "Half an answer"})
    if why == "drain":
        assert lifecycle.release(rig.engine, first, text="Half an answer", outcome=Outcome.HANDED_OVER)
    else:
        lifecycle.give_back(rig.engine, request_id, attempt=1, worker_id=worker_id)
    again = rig.claim_from("openai", worker_id, models=(FIRST,))
    assert again is not None
    assert falls_back(rig, again, code="quota_exhausted") is None
    assert lifecycle.release(rig.engine, again, text="", outcome=Outcome.RELEASED, code="overloaded")
    close_lane(rig, "openai")
    assert diverted(rig) == {}


def test_request_whose_call_goes_on_stays(rig: RequestRig) -> None:
    request_id = waiting(rig, FIRST, SECOND)
    close_lane(rig, "openai")
    rig.put(request_id, call_id="resp_1")
    assert diverted(rig) == {}


@pytest.mark.parametrize("limit", ["in_flight", "slots"])
def test_lane_takes_no_more_than_it_has_room_for(rig: RequestRig, limit: str) -> None:
    has_limit = limit == "in_flight"
    lanes.register(rig.engine, ["openai", "local"], {"local": 3} if has_limit else {})
    asked = ask_many(rig, 8)
    serve(rig, THIRD, room=50 if has_limit else 3)
    close_lane(rig, "openai")
    only = {FIRST: Detour(models=(THIRD,))}
    assert list(diverted(rig, only)) == asked[:3]
    assert diverted(rig, only) == {}
    worker_id = serve(rig, THIRD, room=0)
    running = [rig.claim_from("local", worker_id, models=(THIRD,)) for _ in range(3)]
    if has_limit:
        assert diverted(rig, only) == {}
        assert running[0] is not None
        assert lifecycle.finish(rig.engine, running[0], Answer(text="So."))
        assert list(diverted(rig, only)) == asked[3:4]


def test_full_model_is_passed_over(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai", "anthropic", "local"], {"anthropic": 1})
    asked = ask_many(rig, 3)
    serve(rig, SECOND, THIRD)
    close_lane(rig, "openai")
    assert diverted(rig) == {asked[0]: "anthropic", asked[1]: "local", asked[2]: "local"}


@pytest.mark.parametrize("why", ["breaker", "minute", "probe"])
def test_lane_that_is_closed_takes_nobody(rig: RequestRig, why: str) -> None:
    asked = waiting(rig, FIRST, SECOND), *ask_many(rig, 2)
    close_lane(rig, "openai")
    if why == "minute":
        rates.hold(rig.engine, "anthropic", seconds=60)
    else:
        close_lane(rig, "anthropic")
    if why == "probe":
        lifecycle.end_probe(rig.engine, "anthropic")
    assert list(diverted(rig)) == (list(asked[:1]) if why == "probe" else [])
    assert diverted(rig) == {}


def test_lane_that_works_again_keeps_its_queue(rig: RequestRig) -> None:
    waiting(rig, FIRST, SECOND)
    close_lane(rig, "openai")
    lifecycle.recover(rig.engine, "openai")
    assert diverted(rig) == {}


def test_requests_that_cannot_move_block_no_others(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai", "anthropic", "local", "other"], {})
    serve(rig, FIRST, SECOND, "other/first", THIRD)
    ask_many(rig, DIVERTED_AT_ONCE + 1)
    behind = rig.ask(model="other/first", owner=Owner("browser", "z")).request_id
    for name in ("openai", "anthropic", "other"):
        close_lane(rig, name)
    chains = {FIRST: Detour(models=(SECOND,)), "other/first": Detour(models=(THIRD,))}
    assert diverted(rig, chains) == {behind: "local"}


def test_people_who_may_not_move_block_no_others(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai", "anthropic"], {})
    serve(rig, FIRST, SECOND)
    lee = make_person(rig.engine, "research")
    groups.set_models(rig.engine, groups.group_with(rig.engine, "research").id, ["anthropic/*"])
    ask_many(rig, DIVERTED_AT_ONCE + 1)
    theirs = rig.ask(model=FIRST, owner=lee).request_id
    close_lane(rig, "openai")
    assert diverted(rig, settings=Settings(auth=LOCAL)) == {theirs: "anthropic"}


def test_request_is_diverted_once(rig: RequestRig) -> None:
    request_id = waiting(rig, FIRST, SECOND)
    chains = {FIRST: Detour(models=(SECOND,)), SECOND: Detour(models=(FIRST,))}
    close_lane(rig, "openai")
    assert diverted(rig, chains) == {request_id: "anthropic"}
    lifecycle.recover(rig.engine, "openai")
    close_lane(rig, "anthropic")
    assert diverted(rig, chains) == {}
    assert rig.row(request_id)["model"] == SECOND


def test_other_model_has_tries_of_its_own(rig: RequestRig) -> None:
    request_id = waiting(rig, FIRST, SECOND)
    rig.put(request_id, tries=3, retrying_since=rig.ago(60))
    close_lane(rig, "openai")
    assert diverted(rig) == {request_id: "anthropic"}
    row = rig.row(request_id)
    assert (row["tries"], row["retrying_since"]) == (0, None)


def test_workers_that_look_together_move_each_request_once(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai", "local"], {"local": 5})
    ask_many(rig, 20)
    serve(rig, THIRD, room=50)
    close_lane(rig, "openai")
    only = {FIRST: Detour(models=(THIRD,))}
    looks = together(*[lambda: diverted(rig, only) for _ in range(6)])
    assert [each for each in looks if isinstance(each, Exception)] == []
    assert sum(row["lane"] == "local" for row in rig.rows(chat_request)) == 5


def test_page_names_both_models_while_it_waits(rig: RequestRig, claimed: Claimed) -> None:
    def shown() -> State:
        (row,) = sweep(rig.engine, [claimed.conversation_id], known=[])
        return state_of(row, None, read_at=0.0, slow=False)

    before = shown()
    assert (before.model, before.asked_model) == (None, None)
    falls_back(rig, claimed)
    assert (shown().model, shown().asked_model) == ("second", "first")
    assert shown().is_news(before)


@pytest.mark.parametrize(
    ("model", "asked", "names"),
    [
        ("anthropic/second", "openai/first", ("second", "first")),
        ("gateway/gpt-6", "openai/gpt-6", ("gateway/gpt-6", "openai/gpt-6")),
    ],
)
def test_sentence_tells_both_models_apart(model: str, asked: str, names: tuple[str, str]) -> None:
    assert told_apart(model, asked) == names
