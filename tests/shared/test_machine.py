"""A state machine of the entire lifecycle: people, workers and a reconciler act in any order and stop halfway.

Hypothesis draws the order. Before each write the row says whether the write must be accepted; after each step the
invariants are checked in the tables. A step that stops halfway raises after a drawn number of statements; it must
leave nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, delete

from shared import fleet, lifecycle
from shared.errors import StillRunning
from shared.lifecycle import FAILURES, MAX_LOSSES, Answer, Claimed, Detour, lanes
from shared.lifecycle.repairing import MOST_FORGIVEN
from shared.reconciler import tick
from shared.settings import Settings
from shared.tables import TERMINAL, Outcome, Status, conversation, reconciler_tick, worker
from tests.shared.rig import EVERYTHING, LEASE_SECONDS, MODEL, OWNER, RequestRig
from tests.shared.stopping import StoppedError, stopping_after

#: Takes over from MODEL, in a lane of its own.
SPARE = "spare/echo"
ROOM = {"demo": 50, "spare": 50}  # more than a story asks for

#: The steps to draw from; the usual ones occur more often.
STEPS = (
    *["claim"] * 12,
    *["a_worker_dies"] * 6,
    *["finish", "stop"] * 3,
    *["fall_back", "divert"] * 2,
    *["ask", "fail", "cancel", "wait", "broken", "drain", "checkpoint", "tick", "stops_in_the_middle"] * 2,
    *["ask_there_again", "claim_anything", "renew", "leave", "a_deadline_comes", "web_carries_out_a_stop"],
)


class Lifecycle(RuleBasedStateMachine):
    """The steps that anyone can take. `pick` counts from the newest, so most steps matter and some are stale."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.rig = RequestRig(self.engine)
        self.asked: list[tuple[str, UUID, UUID]] = []
        self.workers: list[UUID] = []
        self.claims: list[Claimed] = []
        self.ended: dict[UUID, dict[str, Any]] = {}
        self.attempts: dict[UUID, int] = {}

    @initialize()
    def empty(self) -> None:
        with self.engine.begin() as connection:
            for table in (conversation, worker, reconciler_tick):
                connection.execute(delete(table))
        lanes.register(self.engine, ["demo", "spare"], {})
        self.workers = [self.worker(), self.worker()]
        for _ in range(3):
            self.ask()
            self.claim(0, len(self.asked))

    @rule(step=st.sampled_from(STEPS), pick=st.integers(0, 7), of=st.integers(0, 8))
    def happens(self, step: str, pick: int, of: int) -> None:
        getattr(self, step)(pick, of)

    def worker(self) -> UUID:
        worker_id = self.rig.worker(MODEL, SPARE)
        with self.engine.begin() as connection:
            fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free=ROOM)
        return worker_id

    def request(self, pick: int) -> UUID:
        return self.asked[-1 - pick % len(self.asked)][2]

    # what people do

    def ask(self, *_: int) -> None:
        if len(self.asked) > 12:
            return
        key = str(len(self.asked))
        submitted = self.rig.ask(key=key)
        self.asked.append((key, submitted.conversation_id, submitted.request_id))

    def ask_there_again(self, pick: int, of: int) -> None:
        key, conversation_id, request_id = self.asked[-1 - pick % len(self.asked)]
        if of % 2:
            again = self.rig.ask(conversation_id=conversation_id, key=key)
            assert (again.request_id, again.is_new) == (request_id, False)
            return
        here = [row for row in self.look() if row["conversation_id"] == conversation_id]
        active = [row["id"] for row in here if row["status"] not in TERMINAL]
        key = str(len(self.asked))
        if active:
            with pytest.raises(StillRunning) as refused:
                self.rig.ask(conversation_id=conversation_id, key=key)
            assert [refused.value.request_id] == active
            return
        submitted = self.rig.ask(conversation_id=conversation_id, key=key)
        self.asked.append((key, conversation_id, submitted.request_id))

    def stop(self, pick: int, _: int) -> None:
        request_id = self.request(pick)
        before = Status(self.rig.row(request_id)["status"])
        after = lifecycle.stop(self.engine, request_id, owner=OWNER)
        assert after is (Status.CANCELLED if before is Status.QUEUED else before)
        assert Status(self.rig.row(request_id)["status"]) is after

    # what workers do

    def claim(self, pick: int, of: int) -> None:
        """Claim a queued request with one of the newest workers, as the product does."""
        waiting = [row for row in self.look() if row["status"] == Status.QUEUED]
        if not waiting:
            return
        row = waiting[pick % len(waiting)]
        self.rig.make_due(row["id"])
        self.try_to_claim(row["id"], self.workers[-1 - of // 6], may_be_suspect=row["losses"] >= 2)

    def claim_anything(self, pick: int, of: int) -> None:
        self.try_to_claim(self.request(pick), self.workers[-1 - of % len(self.workers)], may_be_suspect=pick % 3 == 0)

    def try_to_claim(self, request_id: UUID, worker_id: UUID, *, may_be_suspect: bool) -> None:
        before = self.rig.row(request_id)
        (member,) = self.rig.rows(worker, id=worker_id)
        now = self.rig.scalar("SELECT clock_timestamp()")
        claimed = self.rig.try_claim(request_id, worker_id, models=(MODEL, SPARE), may_be_suspect=may_be_suspect)
        due = before["available_at"] <= now
        if not due and claimed is not None:
            due = before["available_at"] <= self.rig.scalar("SELECT clock_timestamp()")
        may = (
            (before["status"], before["stop_requested_at"], member["lost_at"]) == (Status.QUEUED, None, None)
            and due
            and before["deadline_at"] > now
            and member["lease_expires_at"] > now
            and (before["losses"] < MAX_LOSSES - 1 or may_be_suspect)
        )
        assert (claimed is not None) == may
        if claimed is not None:
            assert claimed.attempt == before["attempt"] + 1
            self.claims.append(claimed)

    def fenced(self, claimed: Claimed) -> tuple[bool, bool]:
        """Return whether this claim still owns the request, and whether a stop was requested."""
        row = self.rig.row(claimed.request_id)
        right = (row["status"], row["attempt"], row["worker_id"]) == ("running", claimed.attempt, claimed.worker_id)
        return right, row["stop_requested_at"] is not None

    def claimed(self, pick: int) -> tuple[Claimed, bool, bool]:
        claimed = self.claims[-1 - pick % len(self.claims)]
        return claimed, *self.fenced(claimed)

    def finish(self, pick: int, _: int) -> None:
        claimed, right, stopped = self.claimed(pick)
        answer = Answer(text=f"whole {claimed.attempt}", finish="stop")
        assert lifecycle.finish(self.engine, claimed, answer) == (right and not stopped)

    def fail(self, pick: int, _: int) -> None:
        claimed, right, _stopped = self.claimed(pick)
        assert lifecycle.fail(self.engine, claimed, Answer(text="part"), code="auth_failed") == right

    def cancel(self, pick: int, _: int) -> None:
        claimed, right, stopped = self.claimed(pick)
        assert lifecycle.cancel(self.engine, claimed, Answer(text="part")) == (right and stopped)

    def wait(self, pick: int, _: int) -> None:
        self.release(pick, Outcome.RELEASED, code="overloaded")

    def broken(self, pick: int, _: int) -> None:
        self.release(pick, Outcome.RELEASED, code="stream_broken", broken=True)

    def drain(self, pick: int, _: int) -> None:
        self.release(pick, Outcome.HANDED_OVER)

    def release(self, pick: int, outcome: Outcome, *, code: str | None = None, broken: bool = False) -> None:
        claimed, right, stopped = self.claimed(pick)
        freed = lifecycle.release(self.engine, claimed, text="part", outcome=outcome, code=code, broken=broken)
        assert freed == (right and not stopped)

    def fall_back(self, pick: int, _: int) -> None:
        claimed, right, stopped = self.claimed(pick)
        is_seen = self.rig.is_seen(self.rig.row(claimed.request_id))
        other = SPARE if claimed.model == MODEL else MODEL
        lane = lifecycle.fall_back(self.engine, claimed, Detour(models=(other,)), Settings(), code="connect_failed")
        assert lane == (other.partition("/")[0] if right and not stopped and not is_seen else None)
        if lane:
            row = self.rig.row(claimed.request_id)
            assert (row["model"], row["lane"], row["asked_model"]) == (other, lane, MODEL)

    def divert(self, *_: int) -> None:
        """Let the first model be away for a moment: who waits for it and has seen no word moves."""
        for _n in range(FAILURES):
            lifecycle.record_failure(
                self.engine, "demo", code="overloaded", asks_to_slow_down=False, wait_seconds=60, was_probe=False
            )
        now, before = self.rig.scalar("SELECT clock_timestamp()"), self.look()
        live = [row for row in self.rig.rows(worker) if row["lost_at"] is None and row["lease_expires_at"] > now]
        seen = {row["id"] for row in before if self.rig.is_seen(row)}
        moved = lifecycle.divert(self.engine, {MODEL: Detour(models=(SPARE,))}, Settings())
        lifecycle.recover(self.engine, "demo")
        assert set(moved) == {
            row["id"]
            for row in before
            if (row["status"], row["model"], row["asked_model"]) == (Status.QUEUED, MODEL, None)
            and row["id"] not in seen
            and row["deadline_at"] > now
            and live
        }
        assert all(self.rig.row(each)["asked_model"] == MODEL for each in moved)

    def checkpoint(self, pick: int, _: int) -> None:
        claimed, right, _stopped = self.claimed(pick)
        before = self.rig.attempt(claimed.request_id, claimed.attempt)["checkpoint"]
        with self.engine.begin() as connection:
            key = (claimed.request_id, claimed.attempt)
            fleet.checkpoint(connection, claimed.worker_id, {key: before + "x"})
        after = self.rig.attempt(claimed.request_id, claimed.attempt)["checkpoint"]
        assert after == before + ("x" if right else "")

    def renew(self, _: int, of: int) -> None:
        worker_id = self.workers[-1 - of % len(self.workers)]
        (row,) = self.rig.rows(worker, id=worker_id)
        with self.engine.begin() as connection:
            renewed = fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free=ROOM) is not None
        assert renewed == (row["lost_at"] is None)

    def leave(self, _: int, of: int) -> None:
        fleet.leave(self.engine, self.workers[-1 - of % len(self.workers)])
        self.workers.append(self.worker())

    # what time does

    def a_worker_dies(self, pick: int, of: int) -> None:
        """Let a worker's lease run out at any step; its claims stay as they are."""
        used = [claimed.worker_id for claimed in self.claims[-3:]]
        self.rig.expire_lease(used[of % len(used)])
        self.workers.append(self.worker())
        if pick % 4:
            self.tick()

    def a_deadline_comes(self, pick: int, _: int) -> None:
        if self.rig.row(self.request(pick))["status"] not in TERMINAL:
            self.rig.put(self.request(pick), deadline_at=self.rig.ago(0))

    # what the reconciler and web repair

    def tick(self, *_: int) -> None:
        now, rows = self.rig.scalar("SELECT clock_timestamp()"), self.rig.rows(worker)
        lost = {row["id"] for row in rows if row["lost_at"] or row["lease_expires_at"] <= now}
        # The rig's tick moves earlier losses by a lease into the past, so those of this tick are apart from them.
        lost_at = {
            row["id"]: row["lost_at"] or now + timedelta(seconds=LEASE_SECONDS) for row in rows if row["id"] in lost
        }
        apart = timedelta(seconds=LEASE_SECONDS / 2)
        alone = {
            each for each, at in lost_at.items() if sum(abs(at - other) <= apart for other in lost_at.values()) == 1
        }
        before = {row["id"]: row for row in self.look()}
        repairs = self.rig.tick()
        assert repairs.taken_back == sum(row["worker_id"] in lost for row in before.values() if row["worker_id"])
        after = {row["id"]: row for row in self.look()}
        for request_id, row in after.items():
            self.check_charge(before[request_id], row, lost=lost, alone=alone, others=list(before.values()))
        assert not [row for row in after.values() if row["worker_id"] in lost], "no request stays with a lost worker"

    def check_charge(
        self,
        was: dict[str, Any],
        row: dict[str, Any],
        *,
        lost: set[UUID],
        alone: set[UUID],
        others: list[dict[str, Any]],
    ) -> None:
        """Check that only a lost worker's requests with the most losses are charged one loss, or fail for it.

        A request that is lost with several workers is charged only after MOST_FORGIVEN lost attempts.
        """
        highest = max(other["losses"] for other in others if other["worker_id"] == was["worker_id"])
        lost_before = [outcome for _, outcome, _ in was["attempts"] or []].count(Outcome.LOST)
        blamed = was["worker_id"] in alone or (was["worker_id"] in lost and lost_before >= MOST_FORGIVEN)
        charged = blamed and was["losses"] == highest and was["stop_requested_at"] is None
        poisonous = charged and was["losses"] + 1 >= MAX_LOSSES
        assert row["losses"] == was["losses"] + (1 if charged and not poisonous else 0)
        if was["worker_id"] in lost and was["stop_requested_at"] is not None:
            assert row["status"] == Status.CANCELLED
        elif was["worker_id"] in lost:
            assert (row["error_code"] == "worker_lost") == poisonous

    def web_carries_out_a_stop(self, pick: int, of: int) -> None:
        row = self.rig.row(self.request(pick))
        if row["stop_requested_at"] is not None and row["status"] not in TERMINAL:
            self.rig.put(row["id"], stop_requested_at=self.rig.ago(10))
        done = lifecycle.cancel_unanswered(
            self.engine, row["id"], attempt=row["attempt"], patience_seconds=3, text="best" if of % 2 else None
        )
        assert done == (row["status"] == "running" and row["stop_requested_at"] is not None)

    # what stops halfway

    def stops_in_the_middle(self, pick: int, of: int) -> None:
        claimed = self.claims[-1 - pick % len(self.claims)]
        worker_id, request = self.workers[-1], claimed.request_id
        answer = Answer(text="half")
        conversation_id = claimed.conversation_id
        verbs: list[Callable[[], object]] = [
            self.rig.ask,
            lambda: self.rig.ask(conversation_id=conversation_id),
            lambda: lifecycle.stop(self.engine, request, owner=OWNER),
            lambda: self.rig.try_claim(request, worker_id),
            lambda: lifecycle.finish(self.engine, claimed, answer),
            lambda: lifecycle.fail(self.engine, claimed, answer, code="auth_failed"),
            lambda: lifecycle.release(self.engine, claimed, text="", outcome=Outcome.RELEASED),
            lambda: lifecycle.fall_back(
                self.engine, claimed, Detour(models=(SPARE,)), Settings(), code="connect_failed"
            ),
            lambda: tick(self.engine, stop_patience_seconds=3, lease_seconds=LEASE_SECONDS),
        ]
        self.rig.ticked()
        before = self.look(), self.rig.stored(), self.rig.rows(worker)
        with pytest.raises((StoppedError, StillRunning)), stopping_after(self.engine, 1 + (pick + of) % 6):
            verbs[of]()
        assert before == (self.look(), self.rig.stored(), self.rig.rows(worker))

    # what must hold at all times

    def look(self) -> list[dict[str, Any]]:
        with self.engine.begin() as connection:
            return [dict(row) for row in connection.execute(EVERYTHING).mappings()]

    @invariant()
    def holds(self) -> None:
        active = set()
        for row in self.look():
            self.check_end(row)
            self.check_accounts(row)
            if row["status"] not in TERMINAL:
                assert row["conversation_id"] not in active, "a conversation has one active request"
                active.add(row["conversation_id"])
                assert row["leaf_id"] == row["user_message_id"], "the branch ends in the question"

    def check_end(self, row: dict[str, Any]) -> None:
        """Check that an ended request has one answer and never changes, and that an active one has none."""
        ended = row["status"] in TERMINAL
        assert row["answers"] == (1 if ended else 0)
        kept = {name: value for name, value in row.items() if name != "leaf_id"}
        assert self.ended.setdefault(row["id"], kept) == kept if ended else row["id"] not in self.ended
        if row["status"] == Status.SUCCEEDED:
            assert row["answer"] == f"whole {row['attempt']}", "the complete text of its last attempt"
            assert row["stop_requested_at"] is None

    def check_accounts(self, row: dict[str, Any]) -> None:
        """Check that every attempt is accounted for exactly once."""
        attempts = row["attempts"] or []
        assert [number for number, _, _ in attempts] == list(range(1, row["attempt"] + 1))
        assert row["attempt"] >= self.attempts.get(row["id"], 0)
        self.attempts[row["id"]] = row["attempt"]
        outcomes = [outcome for _, outcome, _ in attempts]
        assert all(is_over == (outcome is not None) for _, outcome, is_over in attempts)
        assert outcomes.count(None) == (1 if row["status"] == Status.RUNNING else 0)
        assert row["status"] != Status.RUNNING or outcomes[-1] is None
        counted, released = row["tries"] + row["broken_streams"], outcomes.count("released")
        # The tries of the model that another one replaced are not counted any more.
        assert counted <= released if row["asked_model"] else counted == released
        assert row["losses"] <= min(outcomes.count("lost"), MAX_LOSSES)
        ends = [each for each in outcomes if each in ("succeeded", "failed", "cancelled")]
        assert len(ends) <= 1
        assert outcomes.count("succeeded") == (1 if row["status"] == Status.SUCCEEDED else 0)
        given_back = outcomes.count("released") + outcomes.count("handed_over") + outcomes.count("lost")
        given_back += outcomes.count("fell_back")
        assert given_back + len(ends) + outcomes.count(None) == row["attempt"]


def test_lifecycle_holds_in_any_order(rig_engine: Engine) -> None:
    stories: list[int] = []

    class Here(Lifecycle):
        engine = rig_engine

        def teardown(self) -> None:
            super().teardown()
            stories.append(len(self.asked))

    bounds = settings(
        max_examples=10,
        stateful_step_count=50,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Here, settings=bounds)
    assert any(stories), "at least one story asked a question"
