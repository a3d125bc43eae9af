"""Tests of requests and tokens per minute: held over all workers, in any minute, and used well.

Time passes by moving the lane's times into the past.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from shared import lifecycle
from shared.following.phases import Phase, state_of
from shared.following.sweep import sweep
from shared.lifecycle import Answer, Claimed, lanes, rates
from shared.lifecycle.overlooked import hints
from shared.lifecycle.rates import Rate
from shared.people import Owner
from shared.tables import lane
from tests.shared.rig import RequestRig
from tests.shared.together import together

MODEL = "openai/echo"


def limit(rig: RequestRig, *, requests: int | None = None, tokens: int | None = None) -> None:
    lanes.register(rig.engine, ["openai"], {}, {"openai": Rate(requests=requests, tokens=tokens)})


def ask(rig: RequestRig, number: int) -> None:
    for n in range(number):
        rig.ask(model=MODEL, owner=Owner("browser", f"p{n}"))


def row_of(rig: RequestRig) -> dict[str, Any]:
    (row,) = rig.rows(lane, name="openai")
    return row


class Clock:
    """The time of a lane: that of Postgres, and what this test lets pass in addition."""

    def __init__(self, rig: RequestRig) -> None:
        self._rig = rig
        self._passed, self._began_at = 0.0, time.monotonic()

    @property
    def now(self) -> float:
        """The seconds since the clock was made."""
        return self._passed + time.monotonic() - self._began_at

    def pass_(self, seconds: float) -> None:
        """Let time pass for the lane."""
        self._passed += seconds
        past = timedelta(seconds=seconds)
        moved = {name: lane.c[name] - past for name in ("requests_at", "tokens_at", "rests_until")}
        with self._rig.begin() as connection:
            connection.execute(update(lane).values(moved))


def most_in_a_minute(events: list[tuple[float, float, int]]) -> int:
    """Return the largest sum that certainly fell within a minute. An event has its earliest and its latest time."""
    return max(
        sum(each for early, late, each in events if early >= start and late < start + 60) for start, *_ in events
    )


def claim(rig: RequestRig, worker_id: Any) -> Claimed | None:
    return rig.claim_from("openai", worker_id, models=(MODEL,))


@pytest.mark.parametrize("most", [1, 2, 3, 7, 20, 50])
def test_no_minute_has_more_requests_than_the_limit(rig: RequestRig, most: int) -> None:
    limit(rig, requests=most)
    worker_id, clock, drawn = rig.worker(MODEL), Clock(rig), random.Random(most)
    begun: list[tuple[float, float, int]] = []
    while clock.now < 200:
        ask(rig, 1)
        before = clock.now
        if (claimed := claim(rig, worker_id)) is not None:
            begun.append((before, clock.now, 1))
            assert lifecycle.finish(rig.engine, claimed, Answer(text="So."))
        clock.pass_(drawn.choice([0, 0, 0.2, 60 / most / 2, 60 / most]) if len(begun) % 5 else 61 / most)
    assert most_in_a_minute(begun) <= most
    assert len(begun) >= 200 / 60 * most * 0.5


@pytest.mark.parametrize(("most", "at_once"), [(5, 1), (30, 3), (120, 12)])
def test_workers_together_begin_a_tenth_at_once(rig: RequestRig, most: int, at_once: int) -> None:
    limit(rig, requests=most)
    ask(rig, 20)
    workers = [rig.worker(MODEL) for _ in range(16)]
    found = together(*[lambda each=each: claim(rig, each) for each in workers])
    assert len([each for each in found if isinstance(each, Claimed)]) == at_once
    assert not [each for each in found if isinstance(each, Exception)]


def test_tokens_are_reserved_over_all_workers(rig: RequestRig) -> None:
    limit(rig, tokens=10_000)
    waits = together(*[lambda: rates.reserve_tokens(rig.engine, "openai", 500) for _ in range(12)])
    # A tenth of the limit begins at once, and the request that goes beyond it.
    assert [each for each in waits if each == 0] == [0.0, 0.0, 0.0]
    assert all(isinstance(each, float) and each < 60 for each in waits)


def test_no_minute_exceeds_its_tokens_by_more_than_a_request(rig: RequestRig) -> None:
    limit(rig, tokens=10_000)
    clock, drawn, begun = Clock(rig), random.Random(1), []
    while clock.now < 300:
        size, before = drawn.choice([100, 700, 2_500]), clock.now
        if rates.reserve_tokens(rig.engine, "openai", size) == 0:
            begun.append((before, clock.now, size))
        clock.pass_(drawn.choice([0, 0.5, 3]))
    assert most_in_a_minute(begun) <= 10_000 + 2_500
    assert sum(size for *_, size in begun) >= 300 / 60 * 10_000 * 0.6


def test_settling_returns_what_was_not_used(rig: RequestRig) -> None:
    limit(rig, tokens=1_000)
    assert rates.reserve_tokens(rig.engine, "openai", 5_000) == 0
    assert rates.reserve_tokens(rig.engine, "openai", 10) > 200
    rates.settle_tokens(rig.engine, "openai", reserved=5_000, used=0)
    assert rates.reserve_tokens(rig.engine, "openai", 10) == 0


def test_request_that_is_given_back_may_begin_again(rig: RequestRig) -> None:
    limit(rig, requests=2)
    ask(rig, 3)
    worker_id = rig.worker(MODEL)
    assert claim(rig, worker_id) is not None
    rates.give_back_request(rig.engine, "openai")
    assert claim(rig, worker_id) is not None
    assert claim(rig, worker_id) is None


def test_claim_waits_for_tokens(rig: RequestRig) -> None:
    limit(rig, tokens=1_000)
    ask(rig, 1)
    worker_id = rig.worker(MODEL)
    rates.reserve_tokens(rig.engine, "openai", 5_000)
    assert claim(rig, worker_id) is None
    Clock(rig).pass_(400)
    assert claim(rig, worker_id) is not None


def test_lane_rests_when_its_provider_has_nothing_left(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {})
    ask(rig, 1)
    worker_id = rig.worker(MODEL)
    rates.hold(rig.engine, "openai", seconds=30)
    rates.hold(rig.engine, "openai", seconds=1)
    assert claim(rig, worker_id) is None
    Clock(rig).pass_(31)
    assert claim(rig, worker_id) is not None


def test_lane_without_limits_keeps_no_time(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {})
    ask(rig, 1)
    assert rates.reserve_tokens(rig.engine, "openai", 10**9) == 0
    assert claim(rig, rig.worker(MODEL)) is not None
    assert (row_of(rig)["requests_at"], row_of(rig)["tokens_at"]) == (None, None)


def test_limit_leaves_with_its_line_in_the_file(rig: RequestRig) -> None:
    limit(rig, requests=5, tokens=7)
    assert (row_of(rig)["requests_per_minute"], row_of(rig)["tokens_per_minute"]) == (5, 7)
    lanes.register(rig.engine, ["openai"], {})
    assert (row_of(rig)["requests_per_minute"], row_of(rig)["tokens_per_minute"]) == (None, None)


@pytest.mark.parametrize("after", [None, 10_000_000])
def test_changed_limit_does_not_keep_the_lane_closed(rig: RequestRig, after: int | None) -> None:
    limit(rig, requests=1, tokens=1_000)
    ask(rig, 2)
    worker_id = rig.worker(MODEL)
    assert claim(rig, worker_id) is not None
    assert rates.reserve_tokens(rig.engine, "openai", 100_000) == 0
    limit(rig, requests=after and 1_000, tokens=after)
    assert claim(rig, worker_id) is not None


def test_unchanged_limit_keeps_what_was_used(rig: RequestRig) -> None:
    limit(rig, requests=1, tokens=1_000)
    ask(rig, 2)
    worker_id = rig.worker(MODEL)
    assert claim(rig, worker_id) is not None
    assert rates.reserve_tokens(rig.engine, "openai", 100_000) == 0
    limit(rig, requests=1, tokens=1_000)
    assert claim(rig, worker_id) is None
    assert rates.reserve_tokens(rig.engine, "openai", 1) > 60


def test_settling_leaves_the_providers_pause(rig: RequestRig) -> None:
    limit(rig, tokens=30_000)
    ask(rig, 1)
    worker_id = rig.worker(MODEL)
    rates.hold(rig.engine, "openai", seconds=30)
    for _ in range(12):
        rates.settle_tokens(rig.engine, "openai", reserved=1_200, used=150)
    assert claim(rig, worker_id) is None
    Clock(rig).pass_(31)
    assert claim(rig, worker_id) is not None


def test_model_with_a_lane_obeys_its_providers_minute(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {MODEL: 5}, {"openai": Rate(requests=1)})
    ask(rig, 2)
    worker_id = rig.worker(MODEL)
    assert rig.claim_from(MODEL, worker_id, models=(MODEL,)) is not None
    assert rig.claim_from(MODEL, worker_id, models=(MODEL,)) is None


@contextmanager
def used_up(rig: RequestRig) -> Iterator[Any]:
    """A lane with room, whose minute is used up; gives the request that waits in it."""
    rig.serve("openai", room=4)
    limit(rig, requests=1)
    rates.hold(rig.engine, "openai", seconds=30)
    asked = rig.ask(model=MODEL)
    rig.put(asked.request_id, available_at=rig.ago(10))
    yield asked


def test_page_shows_a_place_in_line_while_the_minute_is_used_up(rig: RequestRig) -> None:
    with used_up(rig) as asked:
        (row,) = sweep(rig.engine, [asked.conversation_id], known=[])
        state = state_of(row, None, read_at=0.0, slow=False)
    assert (state.phase, state.position) == (Phase.QUEUED, 1)


def test_no_hint_is_sent_while_the_minute_is_used_up(rig: RequestRig) -> None:
    with used_up(rig):
        with rig.begin() as connection:
            assert hints(connection, 0) == {}
        Clock(rig).pass_(31)
        with rig.begin() as connection:
            assert hints(connection, 0) == {"openai": 1}
