"""The claim: a worker takes the fairest request of a lane that may run now.

A hint says that a lane may have work; the claim chooses the request. It is one round trip of two statements. The first
takes the locks of the lanes that have a limit or an open breaker. The second then sees what other claims have
committed, so that the count of running requests is exact and no counter can drift.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Double,
    Engine,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from shared.lifecycle.branch import walk_from
from shared.lifecycle.ending import NOW
from shared.lifecycle.lanes import FAILURES, LOCK, PROBE_SECONDS, has_breaker_of, in_order, obeyed, provider_of
from shared.lifecycle.rates import is_paced, next_request_at
from shared.lifecycle.repairing import MAX_LOSSES
from shared.lifecycle.values import Claimant, Claimed
from shared.messages import Message, RequestEnd, TextPart
from shared.postgres.database import statement
from shared.postgres.prepared import Batch
from shared.tables import Status, chat_request, conversation, lane, message, quota, request_attempt, worker
from shared.tuning import Tuning

_R = chat_request.c
#: Shared by all messages of a claim, which may be a thousand.
_ENDS: dict[str | None, RequestEnd] = {status.value: RequestEnd(status=status) for status in Status}


def claim(engine: Engine, of_lane: str, claimant: Claimant, *, may_be_suspect: bool = False) -> Claimed | None:
    """Take the fairest request of a lane for its next attempt; None when there is nothing to take.

    It takes only models that the worker serves, and only while the worker's lease is valid, the lane and its provider
    are below their limits, and neither has an open breaker. A request with two losses is taken only if it
    `may_be_suspect`: the caller's process then runs no other such request.
    """
    values = {
        "by_lane": of_lane,
        "by_worker": claimant.worker_id,
        "of_models": _as_array(tuple(claimant.models)),
        "owner_running": claimant.owner_running,
        "may_be_suspect": may_be_suspect,
    }
    with statement(engine) as connection:
        rows = _CLAIM.run(connection, values).all()
    if not rows:
        return None
    columns = dict(zip((column.name for column in _CLAIMED_COLUMNS), rows[0], strict=False))
    branch = tuple(Message(row.role, (TextPart(row.content),), _ENDS.get(row.answer_status)) for row in rows)
    return Claimed(
        request_id=columns.pop("id"),
        worker_id=claimant.worker_id,
        branch=branch,
        is_contested=rows[0].is_contested,
        lane_failures=rows[0].lane_failures,
        may_be_limited=rows[0].may_be_limited,
        tuning=Tuning.read(rows[-1].tuning),
        **columns,
    )


@lru_cache(maxsize=4)
def _as_array(names: tuple[str, ...]) -> str:
    """Return the text of an array. From a list, the driver would write an expression of thousands of constants."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return "{" + ",".join(f'"{name}"' for name in quoted) + "}"


def _seconds(interval: ColumnElement[Any], name: str) -> ColumnElement[float]:
    return cast(func.extract("epoch", interval), Double).label(name)


_CLAIMED_COLUMNS = (
    _R.id,
    _R.attempt,
    _R.conversation_id,
    _R.user_message_id,
    _R.model,
    _R.asked_model,
    _R.lane,
    _R.http_request_id,
    _R.losses,
    _R.tries,
    _R.broken_streams,
    _R.call_id,
    _seconds(_R.started_at - _R.created_at, "queue_seconds"),
    _seconds(NOW - _R.created_at, "age_seconds"),
    _seconds(_R.deadline_at - NOW, "left_seconds"),
    _seconds(func.coalesce(NOW - _R.retrying_since, literal_column("interval '0'")), "retrying_seconds"),
)

# The statements are built once, at the end of this module, because building one takes longer than Postgres takes to run
# it. No parameter has a column's name: SQLAlchemy would set that column.
_BY_LANE = bindparam("by_lane", type_=Text)
_BY_WORKER = bindparam("by_worker", type_=_R.worker_id.type)
#: An array as text: a Batch passes values to the driver as they are.
_MODELS = bindparam("of_models", type_=ARRAY(Text))
_OWNER_RUNNING = cast(bindparam("owner_running"), Integer)
_MAY_BE_SUSPECT = bindparam("may_be_suspect", type_=literal(True).type)
# In the text, not as parameters: a plan made once must use the partial indexes.
_QUEUED: ColumnElement[str] = literal_column(f"'{Status.QUEUED.value}'")
_RUNNING: ColumnElement[str] = literal_column(f"'{Status.RUNNING.value}'")

#: The rows that limit the lane, and those whose breaker is for it.
_OBEYED, _HAS_BREAKER = obeyed(_BY_LANE), has_breaker_of(_BY_LANE)


def _lock_statement() -> Select[Any]:
    """Lock the lanes to obey that have a limit or a breaker, in the order of their names."""
    limits = (lane.c.most_running.is_not(None), lane.c.requests_per_minute.is_not(None))
    is_counted = or_(*limits, lane.c.failures >= FAILURES)
    counted = select(lane.c.name).where(_OBEYED, is_counted).order_by(lane.c.name).subquery("counted")
    return select(func.pg_advisory_xact_lock(LOCK, func.hashtext(counted.c.name)))


def _claim_statement() -> Select[Any]:
    front = (
        select(_R.id)
        .where(*_may_run(_R), _owner_may_run(_R), _may_probe(), _holds_lease(), ~_is_closed())
        .order_by(_R.fair_at)
        # In the text: the planner takes a parameter for a tenth of all rows, and would sort them.
        .limit(literal_column("1"))
        .with_for_update(skip_locked=True)
        .cte("front")
    )
    taken = (
        update(chat_request)
        .where(_R.id == front.c.id)
        .values(
            status=Status.RUNNING,
            attempt=_R.attempt + 1,
            worker_id=_BY_WORKER,
            started_at=func.coalesce(_R.started_at, NOW),
            wait_code=None,
        )
        .returning(*_CLAIMED_COLUMNS)
        .cte("taken")
    )
    noted = (
        insert(request_attempt)
        .from_select(["request_id", "attempt", "worker_id"], select(taken.c.id, taken.c.attempt, _BY_WORKER))
        .cte("noted")
    )
    return _with_branch(taken).add_cte(noted, _noting(taken))


def _with_branch(taken: CTE) -> Select[Any]:
    """Return the claimed request with its prompt: one row per message of the branch, each with the claim's columns."""
    walk = walk_from(taken.c.user_message_id, taken)
    r = chat_request.alias()
    return (
        select(
            taken,
            _is_contested(taken).label("is_contested"),
            select(func.coalesce(func.max(lane.c.failures), 0))
            .where(_HAS_BREAKER)
            .scalar_subquery()
            .label("lane_failures"),
            select(quota.c.subject).exists().label("may_be_limited"),
            message.c.role,
            message.c.content,
            r.c.status.label("answer_status"),
            _tuning(taken).label("tuning"),
        )
        .select_from(taken)
        .join(walk, true())
        .join(message, message.c.id == walk.c.id)
        .outerjoin(r, r.c.id == message.c.request_id)
        .order_by(walk.c.depth.desc())
    )


def _tuning(taken: CTE) -> ColumnElement[Any]:
    """Return the conversation's tuning, on the question's row only: it may be long, and a branch has many rows."""
    found = select(conversation.c.tuning).where(conversation.c.id == taken.c.conversation_id).scalar_subquery()
    return case((message.c.id == taken.c.user_message_id, found))


def _may_run(r: ReadOnlyColumnCollection[str, Any]) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions under which this worker may run the request `r`, without its owner's limit."""
    return (
        r.status == _QUEUED,
        r.lane == _BY_LANE,
        r.available_at <= NOW,
        r.stop_requested_at.is_(None),
        r.deadline_at > NOW,
        or_(r.losses < MAX_LOSSES - 1, _MAY_BE_SUSPECT),
        r.model == func.any(_MODELS),
    )


def _may_probe() -> ColumnElement[bool]:
    """Whether the request may be the probe of a breaker: one with the fewest tries in its lane.

    Otherwise the requests of one broken model, which keep their places, would be the probes of all models there.
    """
    is_open = select(lane.c.name).where(_HAS_BREAKER, lane.c.failures >= FAILURES).exists()
    r = chat_request.alias().c
    # Postgres reads the queue only while the breaker is open. OFFSET makes it sort before it counts an owner's answers,
    # mostly once.
    waiting = select(r.tries, r.owner_id).where(*_may_run(r)).order_by(r.tries).offset(0).subquery()
    fewest = select(waiting.c.tries).where(_owner_may_run(waiting.c)).limit(1).scalar_subquery()
    return case((is_open, _R.tries == fewest), else_=true())


def _holds_lease() -> ColumnElement[bool]:
    return (
        select(worker.c.id)
        .where(worker.c.id == _BY_WORKER, worker.c.lost_at.is_(None), worker.c.lease_expires_at > NOW)
        .exists()
    )


def _owner_may_run(r: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[bool]:
    """Whether the owner of the request has fewer answers under way than one owner may have."""
    other = chat_request.alias()
    theirs = (
        select(literal_column("1"))
        .where(other.c.owner_id == r.owner_id, other.c.status == _RUNNING)
        .correlate_except(other)
        .limit(_OWNER_RUNNING)
        .subquery()
    )
    return or_(_OWNER_RUNNING == 0, select(func.count()).select_from(theirs).scalar_subquery() < _OWNER_RUNNING)


def _is_closed() -> ColumnElement[bool]:
    """Whether the lane or its provider is at one of its limits or has an open breaker."""
    part, r = lane.alias(), chat_request.alias()
    parts = select(part.c.name).where(or_(part.c.name == lane.c.name, provider_of(part.c.name) == lane.c.name))
    running = (
        select(func.count())
        .select_from(r)
        .where(r.c.status == _RUNNING, r.c.lane.in_(parts.correlate(lane)))
        .correlate(lane)
        .scalar_subquery()
    )
    # Counted only where there is a limit.
    is_full = case((lane.c.most_running.is_not(None), lane.c.most_running <= running), else_=false())
    is_open = and_(_HAS_BREAKER, lane.c.retry_at > NOW)
    return select(lane.c.name).where(_OBEYED, or_(is_open, is_full, is_paced())).exists()


def _is_contested(taken: CTE) -> ColumnElement[bool]:
    """Whether the end of this answer should wake a worker: others wait in the lane, or may have met its limit."""
    r = chat_request.alias()
    waiting = select(r.c.id).where(r.c.status == _QUEUED, r.c.lane == _BY_LANE, r.c.id != taken.c.id).exists()
    limited = select(lane.c.name).where(_OBEYED, lane.c.most_running.is_not(None)).exists()
    return or_(waiting, limited)


def _noting(taken: CTE) -> CTE:
    """Count this request where a lane limits requests per minute, and hold an open breaker while it is the probe.

    In one UPDATE: a statement may change a row only once.
    """
    is_probe = and_(_HAS_BREAKER, lane.c.failures >= FAILURES)
    is_counted = lane.c.requests_per_minute.is_not(None)
    probed_until = NOW + func.make_interval(0, 0, 0, 0, 0, 0, PROBE_SECONDS)
    return (
        update(lane)
        .where(select(taken.c.id).exists(), in_order(_OBEYED, or_(is_probe, is_counted)))
        .values(
            retry_at=case((is_probe, probed_until), else_=lane.c.retry_at),
            requests_at=case((is_counted, next_request_at()), else_=lane.c.requests_at),
        )
        .cte("noting")
    )


_CLAIM = Batch(_lock_statement(), _claim_statement())
