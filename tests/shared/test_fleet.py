"""Tests of the fleet: leases, checkpoints of a worker's own requests, and the models that the page offers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text, update

from shared import fleet, lifecycle
from shared.fleet import Model
from shared.operating import shown_models
from shared.tables import Outcome, worker
from shared.tuning import EXCERPT, NO_TUNING, Tuning
from tests.patience import patient
from tests.shared.rig import MODEL, OWNER, RequestRig
from tests.stack import wait_until


def names(rig: RequestRig) -> list[str]:
    return [model.name for model in fleet.fleet(rig.engine).models]


def model_given(rig: RequestRig) -> str:
    """Ask without a model, and return the one that the question gets."""
    return str(rig.row(rig.ask(model="").request_id)["model"])


def test_worker_registers_with_a_lease_and_renews_it(rig: RequestRig) -> None:
    worker_id = rig.worker(lease_seconds=6)
    left = "SELECT extract(epoch FROM lease_expires_at - clock_timestamp()) FROM worker"
    assert 6 - patient(0.5) < rig.scalar(left) <= 6
    with rig.begin() as connection:
        assert fleet.renew(connection, worker_id, lease_seconds=60, consumed=False, free={})
    assert 60 - patient(0.5) < rig.scalar(left) <= 60
    assert rig.rows(worker)[0]["consumed_at"] is None, "the worker lives, but has consumed nothing yet"
    with rig.begin() as connection:
        assert fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free={})
    assert rig.rows(worker)[0]["consumed_at"] is not None


def test_lost_gone_and_unknown_workers_renew_nothing(rig: RequestRig) -> None:
    lost, gone, unknown = rig.worker(), rig.worker(), uuid4()
    rig.lose(lost)
    fleet.leave(rig.engine, gone)
    before = rig.rows(worker)
    with rig.begin() as connection:
        for worker_id in (lost, gone, unknown):
            assert not fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free={})
    assert rig.rows(worker) == before


def test_leaving_after_being_lost_changes_nothing(rig: RequestRig) -> None:
    worker_id = rig.worker()
    rig.lose(worker_id)
    before = rig.rows(worker)
    fleet.leave(rig.engine, worker_id)
    assert rig.rows(worker) == before


def test_worker_reads_the_stops_of_its_running_requests(rig: RequestRig) -> None:
    mine, other = rig.worker(), rig.worker()
    stopped, running = rig.running(worker_id=mine), rig.running(worker_id=mine)
    elsewhere = rig.running(worker_id=other)
    for claimed in (stopped, elsewhere):
        lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER)
    with rig.begin() as connection:
        renewal = fleet.renew(connection, mine, lease_seconds=60, consumed=True, free={})
    assert renewal is not None
    assert renewal.running == {(stopped.request_id, 1): True, (running.request_id, 1): False}
    lifecycle.cancel(rig.engine, stopped, lifecycle.Answer(text=""))
    with rig.begin() as connection:
        renewal = fleet.renew(connection, mine, lease_seconds=60, consumed=True, free={})
    assert renewal is not None
    assert renewal.running == {(running.request_id, 1): False}
    assert rig.row(running.request_id)["status"] == "running"


def test_renewal_reports_the_last_tick(rig: RequestRig) -> None:
    worker_id = rig.worker()
    with rig.begin() as connection:
        before = fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free={})
    assert before == fleet.Renewal(running={}, ticked_ago=None)
    rig.ticked(seconds_ago=30)
    with rig.begin() as connection:
        renewal = fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free={})
    assert renewal is not None
    assert renewal.ticked_ago is not None
    assert 30 <= renewal.ticked_ago < 30 + patient(5)


def test_checkpoint_writes_all_running_attempts_at_once(rig: RequestRig) -> None:
    worker_id = rig.worker()
    claims = [rig.running(worker_id=worker_id) for _ in range(3)]
    written = {(each.request_id, 1): f"{index}: it's \\ 'né' 나루 \U0001f600" for index, each in enumerate(claims)}
    with rig.begin() as connection:
        fleet.checkpoint(connection, worker_id, written)
        fleet.checkpoint(connection, worker_id, {})
    assert [rig.attempt(each.request_id, 1)["checkpoint"] for each in claims] == list(written.values())


@pytest.mark.parametrize("why", ["older attempt", "not begun", "another worker", "queued", "ended", "taken back"])
def test_checkpoint_skips_requests_of_other_attempts(rig: RequestRig, why: str) -> None:
    worker_id = rig.worker()
    mine, good = rig.running(worker_id=worker_id), rig.running(worker_id=worker_id)
    if why in ("older attempt", "queued"):
        lifecycle.release(rig.engine, mine, text="kept", outcome=Outcome.HANDED_OVER)
    if why == "older attempt":
        rig.claim(mine.request_id, worker_id)
    if why == "ended":
        lifecycle.finish(rig.engine, mine, lifecycle.Answer(text="kept"))
    if why == "taken back":
        rig.lose(worker_id)
    before = [rig.attempt(each.request_id, 1)["checkpoint"] for each in (mine, good)]
    attempt = 2 if why == "not begun" else 1
    writer = uuid4() if why == "another worker" else worker_id
    with rig.begin() as connection:
        fleet.checkpoint(connection, writer, {(mine.request_id, attempt): "stale", (good.request_id, 1): "fresh"})
    assert rig.attempt(mine.request_id, 1)["checkpoint"] == before[0]
    if why not in ("another worker", "taken back"):
        assert rig.attempt(good.request_id, 1)["checkpoint"] == "fresh"


def test_checkpoint_skips_an_attempt_that_ended_meanwhile(rig: RequestRig) -> None:
    worker_id = rig.worker()
    mine = rig.running(worker_id=worker_id)
    with ThreadPoolExecutor(1) as thread:
        with rig.begin() as ending:
            ending.execute(
                text("UPDATE request_attempt SET ended_at = now(), outcome = 'succeeded', checkpoint = 'kept'")
            )
            ending.execute(
                text("UPDATE chat_request SET status = 'failed', ended_at = now(), error_code = 'x', worker_id = NULL")
            )
            waiting = thread.submit(_checkpoint, rig, worker_id, {(mine.request_id, 1): "stale"})
            wait_until(lambda: rig.scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        waiting.result(timeout=patient(10))
    assert rig.attempt(mine.request_id, 1)["checkpoint"] == "kept"


def _checkpoint(rig: RequestRig, worker_id: UUID, texts: dict[tuple[UUID, int], str]) -> None:
    with rig.begin() as connection:
        fleet.checkpoint(connection, worker_id, texts)


def test_page_offers_models_of_live_workers(rig: RequestRig) -> None:
    rig.worker("openai/one", "openai/two", slots=3)
    rig.worker("openai/two", "demo/echo", slots=5)
    now = fleet.fleet(rig.engine)
    assert (now.live_workers, now.slots) == (2, 8)
    assert sorted(model.name for model in now.models) == ["demo/echo", "openai/one", "openai/two"]


def test_fleet_counts_every_worker(rig: RequestRig) -> None:
    rig.worker("openai/first", slots=1)
    rig.scalar(
        """
        WITH more AS (
            INSERT INTO worker (id, host, pid, version, slots, models, lease_expires_at)
            SELECT gen_random_uuid(), host, pid, version, 2, '[{"name": "demo/echo", "demo": true}]', lease_expires_at
            FROM worker, generate_series(1, 299) RETURNING id
        ) SELECT count(*) FROM more
        """
    )
    now = fleet.fleet(rig.engine)
    assert (now.live_workers, now.slots) == (300, 599)
    assert sorted(model.name for model in now.models) == ["demo/echo", "openai/first"]


@pytest.mark.parametrize("how", ["lease over", "lost", "left", "draining"])
def test_gone_workers_models_are_offered_without_live_workers(rig: RequestRig, how: str) -> None:
    old = rig.worker("openai/old")
    if how in ("lease over", "lost"):
        rig.expire_lease(old)
    if how == "lost":
        rig.tick()
    if how == "left":
        fleet.leave(rig.engine, old)
    if how == "draining":
        with rig.begin() as connection:
            fleet.start_draining(connection, old)
    assert (fleet.fleet(rig.engine).live_workers, names(rig)) == (0, ["openai/old"]), "as during a deploy"
    rig.worker("openai/new")
    assert (fleet.fleet(rig.engine).live_workers, names(rig)) == (1, ["openai/new"])


def test_only_the_latest_gone_worker_is_remembered(rig: RequestRig) -> None:
    for name, hours in (("openai/old", 20), ("openai/newer", 10)):
        worker_id = rig.worker(name)
        rig.expire_lease(worker_id)
        with rig.begin() as connection:
            connection.execute(update(worker).where(worker.c.id == worker_id).values(renewed_at=rig.ago(hours * 3600)))
    assert names(rig) == ["openai/newer"]
    with rig.begin() as connection:
        connection.execute(update(worker).values(renewed_at=rig.ago(25 * 3600)))
    assert names(rig) == []


def test_empty_fleet_offers_nothing(rig: RequestRig) -> None:
    assert fleet.fleet(rig.engine) == fleet.Fleet(live_workers=0, slots=0, models=())


def test_question_without_a_model_gets_the_first_shown(rig: RequestRig) -> None:
    for _ in range(2):
        rig.worker("openai/one", "openai/two", "demo/echo")
    shown_models.hide(rig.engine, ["openai/one", "demo/echo"])
    assert (fleet.fleet(rig.engine).default(), model_given(rig)) == ("openai/two", "openai/two")
    shown_models.show(rig.engine, ["demo/echo"])
    shown_models.order(rig.engine, ["openai/one", "demo/echo"])
    assert (fleet.fleet(rig.engine).default(), model_given(rig)) == ("demo/echo", "demo/echo")


def test_newest_worker_decides_without_an_order(rig: RequestRig) -> None:
    old = rig.worker("openai/old")
    rig.worker("openai/new")
    with rig.begin() as connection:
        assert fleet.renew(connection, old, lease_seconds=60, consumed=True, free={})
    assert names(rig) == ["openai/new", "openai/old"]
    assert (fleet.fleet(rig.engine).default(), model_given(rig)) == ("openai/new", "openai/new")


def test_no_question_goes_to_a_hidden_model(rig: RequestRig) -> None:
    rig.worker("openai/one", "openai/two")
    shown_models.hide(rig.engine, ["openai/one", "openai/two"])
    with pytest.raises(fleet.NoModelShown, match="naru providers show MODEL"):
        fleet.fleet(rig.engine).default()
    asked = rig.ask(model="").request_id
    rig.tick()
    assert rig.row(asked)["model"] == ""
    shown_models.show(rig.engine, ["openai/two"])
    rig.tick()
    assert rig.row(asked)["model"] == "openai/two"


def test_simulator_model_is_marked(rig: RequestRig) -> None:
    member = fleet.Member(
        worker_id=uuid4(), host="x", pid=1, version="x", slots=1, models=[Model(name=MODEL, demo=True)]
    )
    fleet.register(rig.engine, member, lease_seconds=60)
    assert fleet.fleet(rig.engine).models == (Model(name=MODEL, demo=True),)


def test_defaults_of_a_model_travel_in_the_row(rig: RequestRig) -> None:
    brief, long = Tuning(temperature=0.0, effort="low", instructions="짧게\n답한다."), Tuning(instructions="x" * 5_000)
    offered = {"a/none": NO_TUNING, "a/brief": brief, "a/long": long, "a/as-brief": brief, "a/plain": NO_TUNING}
    models = [Model(name=name, demo=False, defaults=defaults) for name, defaults in offered.items()]
    member = fleet.Member(worker_id=uuid4(), host="x", pid=1, version="x", slots=1, models=models)
    fleet.register(rig.engine, member, lease_seconds=60)
    found = {model.name: model.defaults for model in fleet.fleet(rig.engine).models}
    assert found == {**offered, "a/long": Tuning(instructions="x" * EXCERPT + "…")}
    assert [each.get("defaults") for each in rig.rows(worker)[0]["models"]][3:] == [1, None], "not stored twice"


def test_row_of_an_older_worker_has_no_defaults(rig: RequestRig) -> None:
    worker_id = rig.worker()
    old, new = [{"name": "a/old", "demo": False}], {"tone": "warm", "effort": "utmost", "temperature": 1}
    with rig.begin() as connection:
        models = [*old, {"name": "a/new", "demo": False, "defaults": new}]
        connection.execute(update(worker).where(worker.c.id == worker_id).values(models=models))
    found = {model.name: model.defaults for model in fleet.fleet(rig.engine).models}
    assert found == {"a/old": NO_TUNING, "a/new": Tuning(temperature=1.0)}
