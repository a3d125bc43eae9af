"""Tests of the breaker: a provider that fails is called by one request at a time, and the others wait in the queue."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, update

from shared import lifecycle
from shared.lifecycle import Claimed, lanes
from shared.lifecycle.lanes import LONGEST_PAUSE_SECONDS, PROBE_SECONDS
from shared.lifecycle.overlooked import note_full_queues
from shared.lifecycle.rates import Rate
from shared.people import Owner
from shared.tables import lane
from tests.patience import patient
from tests.shared.rig import RequestRig
from tests.shared.together import together
from tests.stack import wait_until

DEMO, SLOW = "demo/echo", "openai/slow"


def asked(rig: RequestRig, count: int = 5, *, model: str = DEMO) -> None:
    """Store questions of different people."""
    for n in range(count):
        rig.ask(owner=Owner("browser", f"p{n}"), model=model)


def fail(
    rig: RequestRig, name: str = "demo", *, slow_down: bool = False, wait: float = 0.0, probe: bool = False
) -> None:
    """Report a failure of the lane's provider."""
    code = "rate_limited" if slow_down else "connect_failed"
    lifecycle.record_failure(
        rig.engine, name, code=code, asks_to_slow_down=slow_down, wait_seconds=wait, was_probe=probe
    )


def state(rig: RequestRig, name: str = "demo") -> dict[str, Any]:
    (row,) = rig.rows(lane, name=name)
    return row


def pause(rig: RequestRig, name: str = "demo") -> float:
    """Return the seconds until the next call."""
    return float(rig.scalar(f"SELECT extract(epoch FROM retry_at - clock_timestamp()) FROM lane WHERE name = '{name}'"))


def let_pause_end(rig: RequestRig, name: str = "demo") -> None:
    with rig.begin() as connection:
        connection.execute(update(lane).where(lane.c.name == name).values(retry_at=rig.ago(0)))


def await_probe(rig: RequestRig, name: str = "demo") -> None:
    """Open the breaker, and let its pause end."""
    fail(rig, name)
    fail(rig, name)
    let_pause_end(rig, name.partition("/")[0])


def claim(rig: RequestRig, name: str = "demo", model: str = DEMO) -> Claimed | None:
    return rig.claim_from(name, rig.worker(model), models=[model])


def test_breaker_opens_at_the_second_failure(rig: RequestRig) -> None:
    rig.serve("demo", room=4)
    asked(rig)
    fail(rig)
    assert claim(rig) is not None, "one failure may be the request's own"
    fail(rig, wait=30)
    assert (state(rig)["failures"], state(rig)["code"]) == (2, "connect_failed")
    assert state(rig)["failing_since"] is not None
    assert claim(rig) is None
    assert rig.scalar("SELECT count(*) FROM chat_request WHERE status = 'queued'") == 4, "nothing fails meanwhile"


def test_open_breaker_lets_one_probe_through(rig: RequestRig) -> None:
    rig.serve("demo", room=4)
    asked(rig)
    await_probe(rig)
    workers = [rig.worker() for _ in range(6)]
    claims = together(*[lambda w=each: rig.claim_from("demo", w) for each in workers])
    (probe,) = [each for each in claims if each is not None]
    assert isinstance(probe, Claimed)
    assert probe.lane_failures == 2
    assert PROBE_SECONDS - patient(5) < pause(rig) <= PROBE_SECONDS, "a probe that dies is followed by another"


def test_failed_probe_doubles_the_pause_up_to_its_limit(rig: RequestRig) -> None:
    rig.serve("demo", room=4)
    fail(rig)
    pauses = []
    for _ in range(7):
        fail(rig, probe=True)
        pauses.append(round(pause(rig) + 0.49))
    assert pauses == [1, 2, 4, 8, 16, 20, 20]
    assert pause(rig) <= LONGEST_PAUSE_SECONDS


def test_calls_under_way_count_only_once(rig: RequestRig) -> None:
    """A provider that goes away fails every call that was under way: that is one outage, not hundreds."""
    rig.serve("demo", room=4)
    for _ in range(50):
        fail(rig)
    assert state(rig)["failures"] == 2
    assert pause(rig) <= 1


def test_text_closes_the_breaker(rig: RequestRig) -> None:
    rig.serve("demo", room=4)
    asked(rig)
    await_probe(rig)
    assert claim(rig) is not None
    lifecycle.recover(rig.engine, "demo")
    columns = ("failures", "failing_since", "retry_at", "code")
    assert [state(rig)[column] for column in columns] == [0, None, None, None]
    assert [claim(rig) is not None for _ in range(2)] == [True, True]


def test_single_failure_is_forgotten_after_text(rig: RequestRig) -> None:
    rig.serve("demo", room=4)
    asked(rig)
    fail(rig)
    claimed = claim(rig)
    assert claimed is not None
    assert claimed.lane_failures == 1, "its first text calls `recover`"
    lifecycle.recover(rig.engine, "demo")
    fail(rig)
    assert claim(rig) is not None


def test_provider_outage_closes_all_its_lanes(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai", "demo"], {SLOW: 5})
    asked(rig, model=SLOW)
    asked(rig, model="openai/other")
    asked(rig)
    fail(rig, SLOW)
    fail(rig, SLOW, wait=30)
    assert (state(rig, "openai")["failures"], state(rig, SLOW)["failures"]) == (2, 0)
    assert claim(rig, SLOW, SLOW) is None
    assert claim(rig, "openai", "openai/other") is None
    assert claim(rig) is not None, "another provider works"
    let_pause_end(rig, "openai")
    assert claim(rig, SLOW, SLOW) is not None, "the probe"
    assert claim(rig, "openai", "openai/other") is None, "one probe for the whole provider"


def test_request_to_slow_down_closes_its_lane_at_once(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {SLOW: 5})
    asked(rig, model=SLOW)
    asked(rig, model="openai/other")
    fail(rig, SLOW, slow_down=True, wait=7)
    assert 7 - patient(5) < pause(rig, SLOW) <= 7
    assert claim(rig, SLOW, SLOW) is None
    assert claim(rig, "openai", "openai/other") is not None, "the provider's other models go on"


def test_request_to_slow_down_without_a_time_grows(rig: RequestRig) -> None:
    rig.serve("demo", room=4)
    fail(rig, slow_down=True)
    first = pause(rig)
    for _ in range(3):
        fail(rig, slow_down=True, probe=True)
    assert first <= 1
    assert state(rig)["failures"] == 5
    assert 8 - patient(5) < pause(rig) <= 8


def test_no_hint_is_sent_while_the_breaker_is_open(rig: RequestRig) -> None:
    rig.serve("demo", room=4)
    asked(rig)
    with rig.begin() as connection:
        connection.exec_driver_sql("UPDATE chat_request SET available_at = clock_timestamp() - interval '1 s'")
    fail(rig)
    fail(rig, slow_down=True, wait=60)
    assert rig.tick().hints == {}
    let_pause_end(rig)
    assert rig.tick().hints == {"demo": 1}, "one probe"
    lifecycle.recover(rig.engine, "demo")
    assert rig.tick().hints == {"demo": 4}


def test_failing_request_lets_others_probe_first(rig: RequestRig) -> None:
    """The retries of one broken model keep their places in front; they must not be the probes of all models."""
    lanes.register(rig.engine, ["openai"], {})
    broken, healthy = (rig.ask(owner=Owner("browser", who), model=f"openai/{who}") for who in ("broken", "healthy"))
    rig.put(broken.request_id, tries=3)
    claimant = rig.worker("openai/broken", "openai/healthy")
    models = ("openai/broken", "openai/healthy")
    await_probe(rig, "openai")
    probe = rig.claim_from("openai", claimant, models=models)
    assert probe is not None
    assert probe.request_id == healthy.request_id
    let_pause_end(rig, "openai")
    probe = rig.claim_from("openai", claimant, models=models)
    assert probe is not None, "nobody else waits"
    assert probe.request_id == broken.request_id


def test_worker_probes_with_a_model_that_it_serves(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {})
    tried = rig.ask(owner=Owner("browser", "one"), model="openai/one")
    rig.put(tried.request_id, tries=3)
    asked(rig, 3, model="openai/two")
    await_probe(rig, "openai")
    probe = claim(rig, "openai", "openai/one")
    assert probe is not None, "the fresh questions are not this worker's"
    assert probe.request_id == tried.request_id


def test_slowed_lane_of_a_provider_leaves_its_models_alone(rig: RequestRig) -> None:
    """The row `openai` is the provider's and the lane of its other models: a 429 of those is not the provider's."""
    lanes.register(rig.engine, ["openai"], {SLOW: 5})
    asked(rig, model=SLOW)
    asked(rig, model="openai/other")
    fail(rig, "openai", slow_down=True, wait=9)
    assert claim(rig, "openai", "openai/other") is None
    claimed = claim(rig, SLOW, SLOW)
    assert claimed is not None
    assert claimed.lane_failures == 0
    lifecycle.recover(rig.engine, SLOW)
    assert state(rig, "openai")["retry_at"] is not None, "the text of a model says nothing about the others' rate"
    let_pause_end(rig, "openai")
    fail(rig, "openai", probe=True, wait=30)
    assert claim(rig, SLOW, SLOW) is None, "now the provider fails"


def test_rate_limited_probe_frees_the_providers_other_lanes(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {SLOW: 5})
    asked(rig, model=SLOW)
    asked(rig, model="openai/other")
    await_probe(rig, SLOW)
    assert claim(rig, SLOW, SLOW) is not None
    fail(rig, SLOW, slow_down=True, wait=9, probe=True)
    assert claim(rig, SLOW, SLOW) is None
    assert claim(rig, "openai", "openai/other") is not None, "the provider has answered"


def test_failure_of_a_model_leaves_a_slowed_lane_its_pause(rig: RequestRig) -> None:
    """The row `openai` waits as its own lane was asked to; a probe of another lane was not for it."""
    lanes.register(rig.engine, ["openai"], {SLOW: 5})
    fail(rig, "openai", slow_down=True, wait=90)
    fail(rig, SLOW, slow_down=True)
    fail(rig, SLOW, probe=True)
    assert pause(rig, "openai") > 60
    assert (state(rig, "openai")["failures"], state(rig, "openai")["is_slowed"]) == (2, True)
    let_pause_end(rig, "openai")
    fail(rig, SLOW)
    assert (state(rig, "openai")["failures"], state(rig, "openai")["retry_at"]) == (1, None), "one may be its own"


def test_probe_that_meets_an_outage_leaves_its_own_lane_open(rig: RequestRig) -> None:
    """The claim held both breakers for its probe; the provider's failure is the provider's only."""
    lanes.register(rig.engine, ["openai"], {SLOW: 5})
    asked(rig, model=SLOW)
    fail(rig, SLOW, slow_down=True)
    let_pause_end(rig, SLOW)
    assert claim(rig, SLOW, SLOW) is not None
    fail(rig, SLOW, probe=True)
    assert pause(rig, SLOW) <= 0
    assert claim(rig, SLOW, SLOW) is not None, "one failure of the provider shuts nothing"


def test_probe_without_a_result_is_followed_at_once(rig: RequestRig) -> None:
    """A probe may be stopped, or handed over by a worker that ends."""
    rig.serve("demo", room=4)
    asked(rig)
    await_probe(rig)
    assert claim(rig) is not None
    assert claim(rig) is None
    lifecycle.end_probe(rig.engine, "demo")
    assert state(rig)["failures"] == 2
    assert claim(rig) is not None
    assert claim(rig) is None, "still one probe at a time"


def note_full(rig: RequestRig) -> None:
    with rig.begin() as connection:
        note_full_queues(connection, most=1)


#: Everything that changes the rows of a lane and of its provider in one transaction.
CHANGES: dict[str, Callable[[RequestRig], object]] = {
    "slow": lambda rig: fail(rig, SLOW, slow_down=True, probe=True),
    "away": lambda rig: fail(rig, SLOW, probe=True),
    "works": lambda rig: lifecycle.recover(rig.engine, SLOW),
    "ends": lambda rig: lifecycle.end_probe(rig.engine, SLOW),
    "claims": lambda rig: claim(rig, SLOW, SLOW),
    "fills": note_full,
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_lane_is_locked_after_its_provider(rig: RequestRig, change: str) -> None:
    """Two changes that lock both rows in different orders would end each other."""
    lanes.register(rig.engine, ["openai"], {SLOW: 5}, {"openai": Rate(requests=600)})
    asked(rig, 1, model=SLOW)
    asked(rig, 1, model="openai/other")
    for name in (SLOW, "openai"):  # the provider's row is written last, so that a scan meets it last
        with rig.begin() as connection:
            is_claim = change == "claims"
            due = rig.ago(1) if is_claim else rig.ago(-60)
            breaks = {"failures": 2, "retry_at": due, "failing_since": due}
            connection.execute(update(lane).where(lane.c.name == name).values(**breaks))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with ThreadPoolExecutor(1) as threads, rig.begin() as someone:
        someone.execute(select(lane).where(lane.c.name == "openai").with_for_update())
        changed = threads.submit(CHANGES[change], rig)
        wait_until(lambda: rig.scalar(waiting) == 1, seconds=10, what="the change waits for the provider's row")
        free = select(lane.c.name).where(lane.c.name == SLOW).with_for_update(nowait=True)
        assert someone.execute(free).scalar_one() == SLOW
        someone.rollback()
        changed.result(timeout=patient(10))
