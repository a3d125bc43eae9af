"""Tests of what administrators see: lanes, workers, requests, use, banner; and that each look is bounded."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, insert, text, update

from shared import fleet, lifecycle
from shared.errors import NotFound, QuotaExhausted
from shared.lifecycle import Answer, lanes
from shared.operating.banner import LONGEST_BANNER, clear_banner, read_banner, set_banner
from shared.operating.lanes import lanes_now
from shared.operating.requests import MOST_REQUESTS, Which, requests_now, timeline
from shared.operating.use import Span, use_of
from shared.operating.workers import Being, workers_now
from shared.people import Owner
from shared.tables import Outcome, Status, person, worker
from tests.shared.rig import RequestRig
from tests.shared.together import together

MANY = 100_000


def test_lanes_count_what_waits_and_runs(rig: RequestRig) -> None:
    rig.serve("demo", room=3, most_running=2)
    waiting, running = rig.ask(), rig.running()
    rig.put(waiting.request_id, created_at=rig.ago(30))
    (lane,) = [each for each in lanes_now(rig.engine) if each.name == "demo"]
    assert (lane.waiting, lane.running, lane.most_running, lane.free, lane.is_served) == (1, 1, 2, 3, True)
    assert lane.front_seconds is not None
    assert 30 <= lane.front_seconds < 60
    assert lane.retry_seconds is None
    for _ in range(lifecycle.FAILURES):
        lanes.record_failure(
            rig.engine, "demo", code="overloaded", asks_to_slow_down=False, wait_seconds=60, was_probe=False
        )
    (lane,) = [each for each in lanes_now(rig.engine) if each.name == "demo"]
    assert (lane.code, (lane.retry_seconds or 0) > 30) == ("overloaded", True)
    assert running.attempt == 1


def test_workers_show_their_state(rig: RequestRig) -> None:
    live, draining, silent, lost, left, old = (rig.worker() for _ in range(6))
    rig.running(worker_id=live)
    with rig.begin() as connection:
        fleet.start_draining(connection, draining)
    rig.expire_lease(silent)
    fleet.leave(rig.engine, left)
    for worker_id, seconds in ((lost, 5), (old, 7200)):
        with rig.begin() as connection:
            connection.execute(update(worker).where(worker.c.id == worker_id).values(lost_at=rig.ago(seconds)))
    found = {each.id: each for each in workers_now(rig.engine)}
    states = {live: Being.LIVE, draining: Being.DRAINING, silent: Being.SILENT, lost: Being.LOST, left: Being.LEFT}
    assert {worker_id: found[worker_id].being for worker_id in states} == states
    assert old not in found
    assert (found[live].running, found[live].slots) == (1, 4)


def test_drain_is_asked_for_once(rig: RequestRig) -> None:
    worker_id = rig.worker()
    with rig.begin() as connection:
        renewal = fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free={})
    assert renewal is not None
    assert not renewal.is_drain_requested
    assert [fleet.request_drain(rig.engine, worker_id) for _ in range(2)] == [True, False]
    with rig.begin() as connection:
        renewal = fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free={})
    assert renewal is not None
    assert renewal.is_drain_requested
    fleet.leave(rig.engine, worker_id)
    assert not fleet.request_drain(rig.engine, worker_id)
    assert not fleet.request_drain(rig.engine, uuid4())


def test_queue_shows_places_and_people(rig: RequestRig) -> None:
    rig.serve("demo", room=3)
    person_id = a_person(rig)
    asked = [rig.ask(owner=Owner.person(person_id)).request_id for _ in range(2)]
    odd = rig.ask(owner=Owner("person", "not an id")).request_id
    found = {each.id: each for each in requests_now(rig.engine, Which.QUEUED)}
    assert [found[each].place for each in (asked[0], odd, asked[1])] == [1, 2, 3]
    assert [found[each].email for each in (*asked, odd)] == ["ada@example.org"] * 2 + [None]


def test_lists_follow_the_state(rig: RequestRig) -> None:
    running, ended = rig.running(), rig.answered()
    failed = rig.running()
    assert lifecycle.fail(rig.engine, failed, Answer(text=""), code=QuotaExhausted.code)
    lists = {which: {each.id: each for each in requests_now(rig.engine, which)} for which in Which}
    assert set(lists[Which.RUNNING]) == {running.request_id}
    assert set(lists[Which.ENDED]) == {ended, failed.request_id}
    assert {each.error_code for each in lists[Which.FAILED].values()} == {"quota_exhausted"}
    assert lists[Which.RUNNING][running.request_id].worker_id == running.worker_id


def test_timeline_has_every_attempt_and_no_words(rig: RequestRig) -> None:
    claimed = rig.running("a secret question")
    assert lifecycle.release(
        rig.engine, claimed, text="secret text", outcome=Outcome.RELEASED, wait_seconds=0, code="overloaded"
    )
    again = rig.claim(claimed.request_id, rig.worker())
    answer = Answer(text="secret answer", provider_request_id="req_7", input_tokens=5, output_tokens=9)
    assert lifecycle.finish(rig.engine, again, answer)
    found = timeline(rig.engine, claimed.request_id)
    assert [(each.attempt, each.outcome, each.error_code) for each in found.attempts] == [
        (1, "released", "overloaded"),
        (2, "succeeded", None),
    ]
    assert [each.host for each in found.attempts] == ["here", "here"]
    assert found.attempts[1].provider_request_id == "req_7"
    assert (found.request.status, found.tries, found.output_tokens) == (Status.SUCCEEDED, 1, 9)
    assert "secret" not in repr(found)
    with pytest.raises(NotFound):
        timeline(rig.engine, uuid4())


def test_administrator_stops_anybodys_request(rig: RequestRig) -> None:
    queued, running = rig.ask().request_id, rig.running()
    assert lifecycle.stop_any(rig.engine, queued) is Status.CANCELLED
    assert lifecycle.stop_any(rig.engine, queued) is Status.CANCELLED
    assert lifecycle.stop_any(rig.engine, running.request_id) is Status.RUNNING
    assert rig.row(running.request_id)["stop_requested_at"] is not None
    with pytest.raises(NotFound):
        lifecycle.stop_any(rig.engine, uuid4())


def test_taken_request_is_answered_again(rig: RequestRig) -> None:
    claimed = rig.running()
    assert lifecycle.take_from_worker(rig.engine, claimed.request_id, attempt=1)
    assert not lifecycle.take_from_worker(rig.engine, claimed.request_id, attempt=1), "a second one comes too late"
    assert not lifecycle.finish(rig.engine, claimed, Answer(text="too late"))
    assert rig.row(claimed.request_id)["losses"] == 0
    again = rig.claim(claimed.request_id, rig.worker())
    assert not lifecycle.take_from_worker(rig.engine, claimed.request_id, attempt=1), "it runs in another attempt"
    assert lifecycle.finish(rig.engine, again, Answer(text="Because."))
    assert rig.answer_of(claimed.request_id) == "Because."


def test_taken_request_with_a_stop_is_cancelled(rig: RequestRig) -> None:
    claimed = rig.running()
    lifecycle.stop_any(rig.engine, claimed.request_id)
    assert lifecycle.take_from_worker(rig.engine, claimed.request_id, attempt=1)
    assert rig.row(claimed.request_id)["status"] == Status.CANCELLED


def test_two_administrators_do_a_thing_once(rig: RequestRig) -> None:
    claimed, waiting, worker_id = rig.running(), rig.ask().request_id, rig.worker()
    take = partial(lifecycle.take_from_worker, rig.engine, claimed.request_id, attempt=1)
    drain = partial(fleet.request_drain, rig.engine, worker_id)
    assert sorted(map(str, together(take, take, drain, drain))) == ["False", "False", "True", "True"]
    stop = partial(lifecycle.stop_any, rig.engine, waiting)
    assert together(stop, stop) == [Status.CANCELLED] * 2
    assert rig.answer_of(waiting) == ""


def test_use_adds_up(rig: RequestRig) -> None:
    for _ in range(3):
        claimed = rig.running()
        answer = Answer(text="x", input_tokens=10, output_tokens=4, cached_input_tokens=2, first_token_ago_seconds=0.0)
        assert lifecycle.finish(rig.engine, claimed, answer)
    failed = rig.running()
    assert lifecycle.fail(rig.engine, failed, Answer(text=""), code=QuotaExhausted.code)
    old = rig.answered()
    rig.put(old, ended_at=rig.ago(7200))
    hour, day = use_of(rig.engine, Span.HOUR), use_of(rig.engine, Span.DAY)
    assert (hour.whole.succeeded, hour.whole.failed, hour.by_part[0].succeeded) == (3, 1, 3)
    assert (hour.whole.input_tokens, hour.whole.cached_input_tokens) == (30, 6)
    assert hour.whole.first_text_median is not None
    assert hour.failed_by_code == (("quota_exhausted", 1),)
    assert (day.whole.succeeded, sum(part.ended for part in day.by_part)) == (4, 5)
    assert [model for model, _ in hour.by_model] == ["demo/echo"]
    assert use_of(rig.engine, Span.DAY, most=2).is_cut
    assert not day.is_cut


def test_use_of_an_empty_database_is_nothing(rig: RequestRig) -> None:
    found = use_of(rig.engine, Span.DAY)
    assert (found.whole.ended, found.by_model, found.whole.first_text_slow) == (0, (), None)


def test_banner_is_one_line_in_two_languages(rig: RequestRig) -> None:
    clear_banner(rig.engine)
    assert read_banner(rig.engine) is None
    first = set_banner(rig.engine, en=" Down \n at noon\x00 ")
    assert first is not None
    assert (first.text("en"), first.text("ko")) == ("Down at noon\ufffd",) * 2
    second = set_banner(rig.engine, en="Down", ko="점검")
    assert second is not None
    assert second.version != first.version
    assert read_banner(rig.engine) == second
    for bad in ("", "  ", "x" * (LONGEST_BANNER + 1)):
        assert set_banner(rig.engine, en=bad) is None
    assert read_banner(rig.engine) == second
    assert [clear_banner(rig.engine) for _ in range(2)] == [True, False]


def a_person(rig: RequestRig, email: str = "ada@example.org") -> UUID:
    person_id = uuid4()
    with rig.begin() as connection:
        connection.execute(text("DELETE FROM person"))
        connection.execute(insert(person).values(id=person_id, email=email, role="user", password_hash="x"))
    return person_id


@pytest.fixture
def full(rig: RequestRig) -> RequestRig:
    """A database with 100,000 requests: half wait, half ended, a hundredth of these failed."""
    rig.serve("demo", room=3)
    rig.fill_with_queued(MANY)
    end_half = text(
        """
        WITH chosen AS (SELECT id, row_number() OVER () AS n FROM chat_request WHERE status = 'queued' LIMIT :many)
        UPDATE chat_request r SET
            status = CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END,
            error_code = CASE WHEN n % 100 = 0 THEN 'overloaded' END,
            ended_at = clock_timestamp() - n * interval '1 second',
            first_token_at = r.created_at + interval '1 second'
        FROM chosen WHERE chosen.id = r.id
        """
    )
    with rig.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(end_half, {"many": MANY // 2})
        made = "SELECT id, 1, gen_random_uuid() FROM chat_request WHERE ended_at IS NOT NULL"
        connection.execute(text(f"INSERT INTO request_attempt (request_id, attempt, worker_id) {made}"))
        connection.execute(text("ANALYZE chat_request, request_attempt"))
    return rig


@pytest.mark.timeout(600)
def test_looks_read_no_table_in_full(full: RequestRig) -> None:
    one = requests_now(full.engine, Which.FAILED)[0].id
    looks: dict[str, Callable[[], object]] = {
        "lanes": lambda: lanes_now(full.engine),
        "workers": lambda: workers_now(full.engine),
        "timeline": lambda: timeline(full.engine, one),
        **{span.value: partial(use_of, full.engine, span) for span in Span},
        **{which.value: partial(requests_now, full.engine, which) for which in Which},
    }
    assert len(requests_now(full.engine, Which.QUEUED)) == MOST_REQUESTS
    in_full = {}
    for name, look in looks.items():
        plan = "\n".join(plan_of(full, look))
        if re.search("Seq Scan on (chat_request|request_attempt)", plan):
            in_full[name] = plan
    assert in_full == {}


def plan_of(rig: RequestRig, look: Callable[[], object]) -> list[str]:
    """Return the plans of the statements that this look runs."""
    seen: list[tuple[str, Any]] = []
    names = re.compile("SELECT|WITH")

    def note(_: object, __: object, query: str, values: Any, *___: object) -> None:
        if names.match(query.strip()):
            seen.append((query, values))

    event.listen(rig.engine, "before_cursor_execute", note)
    try:
        look()
    finally:
        event.remove(rig.engine, "before_cursor_execute", note)
    assert len(seen) == 1, "a look is one statement"
    with rig.engine.connect() as connection:
        return list(connection.exec_driver_sql(f"EXPLAIN {seen[0][0]}", seen[0][1]).scalars())
