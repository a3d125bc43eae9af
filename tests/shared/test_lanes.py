"""Tests of lanes: limits hold whoever claims at once, and waiting is fair."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import select, update

from shared import fleet, lifecycle
from shared.errors import QueueFull, SettingsError
from shared.lifecycle import Answer, Claimed, lanes
from shared.lifecycle.overlooked import SAMPLE
from shared.people import Owner
from shared.tables import Outcome, chat_request, lane, worker
from tests.shared.rig import OWNER, STRANGER, RequestRig
from tests.shared.together import together

FAST, SLOW = "openai/fast", "openai/slow"
DEMO = "demo/echo"


def claimer(rig: RequestRig, name: str, *models: str) -> Callable[[], Claimed | None]:
    """Return a function with which a worker of its own claims from the lane `name`."""
    worker_id = rig.worker(*models)
    return lambda: rig.claim_from(name, worker_id, models=models)


def ask_many(rig: RequestRig, count: int, *, model: str) -> list[UUID]:
    """Store a question of each of `count` people."""
    return [rig.ask(owner=Owner("browser", f"p{n}"), model=model).request_id for n in range(count)]


def won(claims: list[Claimed | Exception | None]) -> list[Claimed]:
    """Return the claims that succeeded; none may raise."""
    assert not [each for each in claims if isinstance(each, Exception)], claims
    return [each for each in claims if isinstance(each, Claimed)]


def test_lane_never_runs_more_than_its_limit(rig: RequestRig) -> None:
    rig.limit("demo", 3)
    ask_many(rig, 30, model=DEMO)
    claimers = [claimer(rig, "demo", DEMO) for _ in range(16)]
    first = won(together(*claimers))
    assert len(first) == 3
    for _ in range(6):
        ended = first.pop()
        assert lifecycle.finish(rig.engine, ended, Answer(text="So."))
        first += won(together(*claimers))
        assert len(first) == 3, "one ended, one began"
    assert rig.scalar("SELECT count(*) FROM chat_request WHERE status = 'running'") == 3


def test_provider_limit_covers_all_its_lanes(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {"openai": 4, SLOW: 3})
    ask_many(rig, 8, model=SLOW)
    for _ in range(8):
        rig.ask(owner=STRANGER, model=FAST)
    serving = [claimer(rig, name, FAST, SLOW) for name in (SLOW, "openai") * 8]
    running = won(together(*serving))
    assert len(running) == 4, "the provider's limit"
    assert sum(each.lane == SLOW for each in running) <= 3, "the model's limit"
    for each in serving[:1] * 4:
        assert each() is None, "the provider is full"


def test_end_wakes_all_lanes_that_share_a_limit(rig: RequestRig) -> None:
    """The hint of a model's lane finds the provider full and is dropped; the next free place must wake it again."""
    limits = {"openai": 2, SLOW: 1, "demo": 5}
    lanes.register(rig.engine, ["openai", "demo"], limits)
    assert lanes.waiting_beside(rig.engine, SLOW) == []
    ask_many(rig, 4, model=FAST)
    later = rig.ask(owner=STRANGER, model=SLOW)
    rig.ask(owner=OWNER, model=DEMO)
    assert lanes.waiting_beside(rig.engine, SLOW) == ["openai", SLOW], "the fairest first"
    rig.put(later.request_id, fair_at=rig.ago(60))
    assert lanes.waiting_beside(rig.engine, "openai") == [SLOW, "openai"]
    rig.put(later.request_id, available_at=rig.ago(-60))
    assert lanes.waiting_beside(rig.engine, "openai") == ["openai"]
    shared = [lanes.shares_limit(name, limits) for name in ("openai", SLOW, "demo", "anthropic")]
    assert shared == [True, True, False, False]
    assert not lanes.shares_limit(SLOW, {SLOW: 1}), "the provider has no limit"


def test_lane_without_a_limit_takes_everything(rig: RequestRig) -> None:
    ask_many(rig, 12, model=DEMO)
    assert len(won(together(*[claimer(rig, "demo", DEMO) for _ in range(12)]))) == 12


def test_lost_worker_frees_its_places_in_the_lane(rig: RequestRig) -> None:
    """The count is taken from the rows, so a worker that dies holding places loses them with its answers."""
    rig.limit("demo", 2)
    ask_many(rig, 4, model=DEMO)
    killed = rig.worker()
    held = [rig.claim_from("demo", killed) for _ in range(3)]
    assert [each is not None for each in held] == [True, True, False]
    other = rig.worker()
    assert rig.claim_from("demo", other) is None
    assert rig.lose(killed).taken_back == 2
    rig.make_due(*[each.request_id for each in held if each is not None])
    assert [rig.claim_from("demo", other) is not None for _ in range(3)] == [True, True, False]


def test_frozen_claim_holds_up_no_other_lane(rig: RequestRig) -> None:
    """A claim that is not committed holds the lock of its lane; the server ends it, and other lanes never wait."""
    rig.limit("demo", 1)
    ask_many(rig, 2, model=DEMO)
    ask_many(rig, 2, model=FAST)
    with rig.begin() as frozen:
        frozen.exec_driver_sql("SELECT pg_advisory_xact_lock(%s, hashtext('demo'))", (lanes.LOCK,))
        assert claimer(rig, "openai", FAST)() is not None
    assert claimer(rig, "demo", DEMO)() is not None
    assert claimer(rig, "demo", DEMO)() is None, "the limit still holds"


def test_limits_of_the_newest_worker_count(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {SLOW: 1})
    asked = rig.ask(model=SLOW)
    assert asked.lane == SLOW
    lanes.register(rig.engine, ["openai", "demo"], {"openai": 7})
    limits = {row["name"]: row["most_running"] for row in rig.rows(lane)}
    assert limits == {"demo": None, "openai": 7, SLOW: None}
    lanes.register(rig.engine, ["demo"], {"demo": 2})
    assert {row["name"]: row["most_running"] for row in rig.rows(lane)} == {"demo": 2, "openai": 7, SLOW: None}


def test_waiting_requests_move_to_a_new_lane(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {})
    asked = rig.ask(model=SLOW)
    assert asked.lane == "openai"
    rig.limit(SLOW, 1)
    assert rig.row(asked.request_id)["lane"] == SLOW
    assert claimer(rig, "openai", SLOW)() is None
    assert claimer(rig, SLOW, SLOW)() is not None


def test_many_requests_move_to_a_new_lane_in_slices(rig: RequestRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MOVED_AT_ONCE", 3)
    lanes.register(rig.engine, ["openai"], {})
    locked, *others = ask_many(rig, 8, model=SLOW)
    with rig.begin() as someone:
        someone.execute(select(chat_request.c.id).where(chat_request.c.id == locked).with_for_update())
        rig.limit(SLOW, 1)
    assert {rig.row(each)["lane"] for each in others} == {SLOW}
    assert rig.row(locked)["lane"] == "openai", "nobody waits for a locked row"
    lanes.move_requests(rig.engine)
    assert rig.row(locked)["lane"] == SLOW


def test_flood_delays_others_by_at_most_one_answer(rig: RequestRig) -> None:
    flood = [rig.ask(owner=OWNER).request_id for _ in range(200)]
    others = [rig.ask(owner=Owner("browser", f"p{n}")).request_id for n in range(20)]
    worker_id = rig.worker()
    order = []
    for _ in range(22):
        claimed = rig.claim_from("demo", worker_id)
        assert claimed is not None
        order.append(claimed.request_id)
        lifecycle.finish(rig.engine, claimed, Answer(text="So."))
    assert order[0] == flood[0]
    assert order[1:21] == others, "one answer of the flood went first"
    assert order[21] == flood[1]


def test_two_floods_take_turns(rig: RequestRig) -> None:
    for owner in (OWNER, STRANGER):
        for _ in range(10):
            rig.ask(owner=owner)
    worker_id = rig.worker()
    owners = []
    for _ in range(8):
        claimed = rig.claim_from("demo", worker_id)
        assert claimed is not None
        owners.append(rig.row(claimed.request_id)["owner_id"])
    assert {frozenset(owners[n : n + 2]) for n in range(0, 8, 2)} == {frozenset({OWNER.key, STRANGER.key})}


def test_owner_runs_no_more_than_their_share(rig: RequestRig) -> None:
    for _ in range(5):
        rig.ask(owner=OWNER)
    theirs = rig.ask(owner=STRANGER).request_id
    worker_id = rig.worker()
    claims = [rig.claim_from("demo", worker_id, owner_running=2) for _ in range(4)]
    running = [each.request_id for each in claims if each is not None]
    assert (len(running), theirs in running) == (3, True), "two of one owner, and the other's"
    mine = next(each for each in claims if each is not None and each.request_id != theirs)
    lifecycle.finish(rig.engine, mine, Answer(text="So."))
    assert rig.claim_from("demo", worker_id, owner_running=2) is not None
    assert rig.claim_from("demo", worker_id, owner_running=2) is None


def test_full_queue_refuses_and_stores_nothing(rig: RequestRig) -> None:
    rig.serve("demo", room=0)
    lanes.register(rig.engine, ["openai"], {})
    for request_id in ask_many(rig, 3, model=DEMO):
        rig.put(request_id, available_at=rig.ago(1))
    rig.tick(queue_questions=4)
    rig.ask(owner=OWNER)
    rig.tick(queue_questions=4)
    before = rig.stored()
    with pytest.raises(QueueFull) as refused:
        rig.ask(owner=OWNER)
    assert refused.value.seconds == 30
    assert rig.stored() == before
    rig.worker(FAST)
    assert rig.ask(owner=OWNER, model=FAST).is_new, "another lane has room"
    assert rig.claim_from("demo", rig.worker()) is not None
    rig.tick(queue_questions=4)
    assert rig.ask(owner=OWNER).is_new, "running questions do not wait"
    rig.tick(queue_questions=0)
    assert rig.ask(owner=OWNER).is_new, "0 means no limit"


def test_full_queue_refuses_to_regenerate(rig: RequestRig) -> None:
    asked = rig.ask()
    rig.serve("demo", room=0)
    lifecycle.finish(rig.engine, rig.claim(asked.request_id, rig.worker()), Answer(text="So."))
    rig.put(rig.ask(owner=STRANGER).request_id, available_at=rig.ago(1))
    rig.tick(queue_questions=1)
    with pytest.raises(QueueFull):
        rig.ask("", conversation_id=asked.conversation_id, regenerate=True)
    rig.tick(queue_questions=2)
    assert rig.ask("", conversation_id=asked.conversation_id, regenerate=True).lane == "demo"


def test_queue_that_empties_is_full_no_more(rig: RequestRig) -> None:
    """No request is overlooked any more, so the note itself must make the tick look."""
    rig.serve("demo", room=0)
    rig.put(rig.ask().request_id, available_at=rig.ago(1))
    rig.tick(queue_questions=1)
    assert rig.claim_from("demo", rig.worker()) is not None
    rig.tick(queue_questions=1)
    assert rig.ask(owner=STRANGER).is_new


def test_requests_of_the_previous_version_get_a_lane(rig: RequestRig) -> None:
    """A web process of the previous version stores no lane, and may leave the model to the worker."""
    chosen, open_ = rig.ask(model=FAST).request_id, rig.ask().request_id
    running = rig.running()
    for each in (chosen, running.request_id):
        rig.put(each, lane="")
    rig.put(open_, lane="", model="")
    worker_id = rig.worker(DEMO)
    rig.tick()
    assert [rig.row(each)["lane"] for each in (chosen, open_, running.request_id)] == ["openai", "demo", "demo"]
    claimed = rig.claim_from("demo", worker_id)
    assert claimed is not None
    assert (claimed.request_id, claimed.model) == (open_, DEMO)


def test_question_without_a_worker_gets_its_lane_later(rig: RequestRig) -> None:
    asked = rig.ask(model="")
    assert (asked.lane, rig.row(asked.request_id)["model"]) == ("", "")
    rig.tick()
    assert rig.row(asked.request_id)["lane"] == "", "nobody knows a model yet"
    rig.serve("demo", room=1)
    rig.put(asked.request_id, available_at=rig.ago(1))
    assert rig.tick().hints == {"demo": 1}
    assert (rig.row(asked.request_id)["lane"], rig.row(asked.request_id)["model"]) == ("demo", DEMO)


def test_hints_stay_bounded_while_requests_wait(rig: RequestRig) -> None:
    """F9: what waits costs no hints; only what a worker could claim does."""
    rig.ask()
    rig.fill_with_queued(500)
    assert rig.tick().hints == {}, "no worker"
    rig.serve("demo", room=4)
    assert [rig.tick().hints for _ in range(3)] == [{"demo": 4}] * 3


def test_hints_pass_requests_that_wait_to_be_tried_again(rig: RequestRig) -> None:
    """Requests that are not due keep their places; however many they are, a tick sees who stands behind them."""
    rig.serve("demo", room=1)
    rig.ask()
    rig.fill_with_queued(SAMPLE)
    with rig.begin() as connection:
        connection.execute(update(chat_request).values(available_at=rig.ago(-60)))
    rig.put(rig.ask(owner=STRANGER).request_id, available_at=rig.ago(1))
    assert rig.tick().hints == {"demo": 1}


def test_hints_count_only_models_that_are_served(rig: RequestRig) -> None:
    """F8: an idle worker of the same provider gets no hints for a model of another, busy worker."""
    idle, busy = rig.worker(FAST), rig.worker(SLOW)
    lanes.register(rig.engine, ["openai"], {})
    with rig.begin() as connection:
        fleet.renew(connection, idle, lease_seconds=60, consumed=True, free={"openai": 4})
        fleet.renew(connection, busy, lease_seconds=60, consumed=True, free={"openai": 0})
    for request_id in ask_many(rig, 5, model=SLOW):
        rig.put(request_id, available_at=rig.ago(1))
    assert rig.tick().hints == {}
    with rig.begin() as connection:
        fleet.renew(connection, busy, lease_seconds=60, consumed=True, free={"openai": 1})
    assert rig.tick().hints == {"openai": 5}


def age(rig: RequestRig, worker_id: UUID, **ages: float) -> None:
    """Set times of a worker's row to so many seconds ago."""
    values = {column: rig.ago(seconds) for column, seconds in ages.items()}
    with rig.begin() as connection:
        connection.execute(update(worker).where(worker.c.id == worker_id).values(**values))


def test_model_that_nobody_serves_fails_in_time(rig: RequestRig) -> None:
    gone, there = rig.worker(SLOW), rig.worker(FAST)
    lanes.register(rig.engine, ["openai"], {})
    lost, recent, served = (rig.ask(model=model).request_id for model in (SLOW, SLOW, FAST))
    for each in (lost, served):
        rig.put(each, available_at=rig.ago(601))
    fleet.leave(rig.engine, gone)
    assert rig.tick().unserved == 0, "its worker was there a moment ago"
    age(rig, gone, renewed_at=601)
    assert rig.tick().unserved == 0, "no worker has been there for so long: they may all be starting"
    age(rig, there, started_at=601)
    repairs = rig.tick()
    assert repairs.unserved == 1
    row = rig.row(lost)
    assert (row["status"], row["error_code"]) == ("failed", "unserved")
    assert {rig.row(each)["status"] for each in (recent, served)} == {"queued"}


def test_unserved_requests_fail_in_bounded_slices(rig: RequestRig) -> None:
    there = rig.worker(DEMO)
    age(rig, there, started_at=601)
    lanes.register(rig.engine, ["demo"], {})
    rig.ask()
    rig.fill_with_queued(119)
    with rig.begin() as connection:
        connection.execute(update(chat_request).values(model="demo/gone", available_at=rig.ago(700)))
    assert [rig.tick().unserved for _ in range(4)] == [50, 50, 20, 0]


def test_release_and_loss_keep_the_place_in_the_lane(rig: RequestRig) -> None:
    first, second = (rig.ask(owner=owner).request_id for owner in (OWNER, STRANGER))
    worker_id = rig.worker()
    claimed = rig.claim_from("demo", worker_id)
    assert claimed is not None
    lifecycle.release(rig.engine, claimed, text="", outcome=Outcome.HANDED_OVER)
    again = rig.claim_from("demo", worker_id)
    assert again is not None
    assert again.request_id == first != second


@pytest.mark.parametrize(
    ("setting", "limits"),
    [
        ("", {}),
        (" , ", {}),
        ("openai=8", {"openai": 8}),
        (" openai = 8 , openai/o3=2,anthropic=1000000", {"openai": 8, "openai/o3": 2, "anthropic": 1_000_000}),
        ("ollama/hf.co/some/model:7b=1", {"ollama/hf.co/some/model:7b": 1}),
    ],
)
def test_lane_setting_is_read(setting: str, limits: dict[str, int]) -> None:
    assert lanes.limits_in(setting) == limits


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("openai=0", "a number from 1 to 1,000,000"),
        ("openai=-1", "a number from 1 to 1,000,000"),
        ("openai=1000001", "a number from 1 to 1,000,000"),
        ("openai=many", "a number from 1 to 1,000,000"),
        ("openai=٣", "a number from 1 to 1,000,000"),
        ("openai=" + "9" * 5000, "a number from 1 to 1,000,000"),
        ("openai", "write openai=NUMBER"),
        ("opanai=3", "neither a provider nor provider/model. The providers are openai,"),
        ("openai/=3", "neither a provider nor provider/model"),
        ("=3", "neither a provider nor provider/model"),
        ("openai=3, openai=4", "names 'openai' twice"),
    ],
)
def test_bad_lane_setting_is_refused_with_a_sentence(setting: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        lanes.limits_in(setting)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 400
