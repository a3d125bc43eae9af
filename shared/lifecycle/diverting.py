"""Diversion: other models take over the requests that wait for one that is away.

Each worker with chains looks once a second. It asks for the first models of its chains only, so a look costs the same
however many requests wait. Only where one of them is away are requests read, by one worker at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Interval,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared import fleet
from shared.errors import UNSERVED
from shared.lifecycle.ending import NOW
from shared.lifecycle.falling_back import PATIENCE_SECONDS, UNSEEN, Detour, Target, allowed, moved_to
from shared.lifecycle.lanes import FAILURES, has_breaker_of, lane_of_column, obeyed, provider_of
from shared.lifecycle.rates import is_paced
from shared.people import Owner
from shared.postgres import notify
from shared.postgres.database import statement, transaction
from shared.postgres.prepared import prepared
from shared.settings import Settings
from shared.tables import ACTIVE, Status, chat_request, lane, worker

_R, _W = chat_request.c, worker.c
#: The most requests that one look moves, and that it reads at once.
DIVERTED_AT_ONCE = 100
#: A look reads this often at most. Requests whose owners may use none of the free models fill it with nothing.
MOST_READS = 10
#: The advisory lock of a diversion: "naru" on a phone keypad, then 8.
ADVISORY_LOCK = 62788


def divert(
    engine: Engine, detours: Mapping[str, Detour], settings: Settings, *, here: Collection[str] = ()
) -> dict[UUID, str]:
    """Let other models take over the waiting requests whose own cannot answer; return their new lanes by request.

    `detours` are by the first model of each chain. It cannot answer while its breaker is open for longer than
    PATIENCE_SECONDS, or while no worker has offered it for that long; those `here` are offered by the calling worker.
    Each lane takes as many requests as could begin in it now. A request moves once: then it has a model that worked.
    """
    away = _away(engine, detours, here)
    if not away:
        return {}
    with transaction(engine) as connection:
        if not connection.execute(_TAKE_LOCK).scalar_one():
            return {}  # another worker moves them
        return _Diversion(connection, {each: detours[each] for each in away}, away, settings).run()


def _away(engine: Engine, heads: Collection[str], here: Collection[str]) -> dict[str, str]:
    """Return the models that cannot answer, each with the code of the reason."""
    elsewhere = [each for each in heads if each not in here]
    with statement(engine) as connection:
        closed = {row.model: row.code for row in connection.execute(_CLOSED, {"of_models": list(heads)})}
        if not elsewhere:
            return closed
        unserved = connection.execute(_UNSERVED, {"of_models": elsewhere, "patience": PATIENCE_SECONDS}).scalars()
        return {**dict.fromkeys(unserved, UNSERVED), **closed}


class _Diversion:
    """One look that moves requests, in one transaction."""

    def __init__(
        self, connection: Connection, detours: Mapping[str, Detour], codes: Mapping[str, str], settings: Settings
    ) -> None:
        self._connection, self._detours, self._codes, self._settings = connection, detours, codes, settings
        self._places = _Places(connection, {model for each in detours.values() for model in each.models})
        #: The models that each owner may use instead of each model.
        self._allowed: dict[tuple[str, str], Sequence[str]] = {}

    def run(self) -> dict[UUID, str]:
        """Move what can move; return the new lanes by request."""
        moved: dict[UUID, str] = {}
        refused: set[str] = set()
        for _ in range(MOST_READS):
            heads = [head for head, detour in self._detours.items() if self._places.has_one_of(detour.models)]
            if not heads or len(moved) >= DIVERTED_AT_ONCE:
                break
            most = DIVERTED_AT_ONCE - len(moved)
            values = {"of_models": heads, "refused": list(refused), "most": most}
            rows = self._connection.execute(_WAITING, values).all()
            targets: dict[tuple[Target, str], list[Any]] = defaultdict(list)
            for row in rows:
                target = self._places.take(self._allowed_to(row.owner_id, row.model))
                if target is None:
                    refused.add(f"{row.model} {row.owner_id}")
                else:
                    targets[target, self._codes[row.model]].append(row)
                    moved[row.id] = target.lane
            self._move(targets)
            if len(rows) < most:
                break
        return moved

    def _allowed_to(self, owner_id: str, head: str) -> Sequence[str]:
        found = self._allowed.get((owner_id, head))
        if found is None:
            found = allowed(self._connection, Owner.from_key(owner_id), self._detours[head], self._settings)
            self._allowed[owner_id, head] = found
        return found

    def _move(self, targets: Mapping[tuple[Target, str], list[Any]]) -> None:
        for (target, code), rows in targets.items():
            ids = [row.id for row in rows]
            self._connection.execute(update(chat_request).where(_R.id.in_(ids)).values(**moved_to(target, code)))
            for row in rows:
                notify.after_commit(self._connection, notify.REQUEST, row.id, row.conversation_id)


class _Places:
    """How many more requests could begin now, in the lanes of these models that work."""

    def __init__(self, connection: Connection, models: Iterable[str]) -> None:
        rows = connection.execute(_ROOM, {"of_models": list(models)}).all()
        self._targets = {row.model: Target(row.model, row.lane) for row in rows}
        self._room: dict[str, int] = {row.lane: row.room for row in rows}

    def has_one_of(self, models: Iterable[str]) -> bool:
        """Whether one of the models has a free place."""
        return self._best(models) is not None

    def take(self, models: Iterable[str]) -> Target | None:
        """Take a place of the first model that has one.

        The lanes of a provider may share its limit, so each of them loses a place.
        """
        target = self._best(models)
        if target is not None:
            provider = target.lane.partition("/")[0]
            self._room = {name: room - (name.partition("/")[0] == provider) for name, room in self._room.items()}
        return target

    def _best(self, models: Iterable[str]) -> Target | None:
        targets = (self._targets[each] for each in models if each in self._targets)
        return next((each for each in targets if self._room[each.lane] > 0), None)


_TAKE_LOCK = prepared(text(f"SELECT pg_try_advisory_xact_lock({ADVISORY_LOCK})"))

_GIVEN = func.unnest(bindparam("of_models", type_=ARRAY(Text))).table_valued(column("model", Text)).render_derived()
_NAMED = select(_GIVEN.c.model, lane_of_column(_GIVEN.c.model).label("lane")).cte("named")
_MODEL, _LANE = _NAMED.c.model, _NAMED.c.lane
# In the text: a plan made once must use the partial indexes.
_QUEUED: ColumnElement[str] = literal_column(f"'{Status.QUEUED.value}'")
_ACTIVE: list[ColumnElement[str]] = [literal_column(f"'{each.value}'") for each in ACTIVE]
_PATIENCE = cast(literal(f"{PATIENCE_SECONDS} s"), Interval)

_CLOSED = prepared(
    select(_MODEL, lane.c.code)
    .join(lane, has_breaker_of(_LANE))
    .where(
        lane.c.failures >= FAILURES,
        lane.c.retry_at > NOW,
        or_(lane.c.failing_since <= NOW - _PATIENCE, lane.c.retry_at > NOW + _PATIENCE),
    )
    # The last row of a model counts: its provider's reason comes before that of its own lane.
    .order_by(lane.c.name.desc())
)

#: Models that no worker has offered for the time of patience, in which a worker was there. The lists of all workers are
#: read once, and not once for each model.
_UNSERVED = prepared(
    text(
        """
        WITH long AS (SELECT statement_timestamp() - make_interval(secs => :patience) AS ago)
        SELECT unnest(CAST(:of_models AS text[])) AS model
        WHERE EXISTS (
            SELECT FROM worker CROSS JOIN long
            WHERE lost_at IS NULL AND lease_expires_at > statement_timestamp() AND started_at <= ago
        )
        EXCEPT
        SELECT offer ->> 'name'
        FROM worker CROSS JOIN long CROSS JOIN LATERAL jsonb_array_elements(models) AS offer
        WHERE renewed_at > ago
        """
    )
)


def _room() -> ColumnElement[int]:
    """Return how many more requests could begin now in the lane: free slots and limits, less those that wait there."""
    part, r = lane.alias(), chat_request.alias().c
    parts = select(part.c.name).where(or_(part.c.name == lane.c.name, provider_of(part.c.name) == lane.c.name))
    active = select(func.count()).where(r.status.in_(_ACTIVE), r.lane.in_(parts.correlate(lane))).correlate(lane)
    left = select(func.min(lane.c.most_running - active.scalar_subquery())).where(obeyed(_LANE))
    slots = cast(cast(_W.free, JSONB)[_LANE].astext, Integer)
    live = (_W.lost_at.is_(None), _W.lease_expires_at > NOW, ~_W.draining)
    free = func.coalesce(select(func.sum(slots)).where(*live).correlate(_NAMED).scalar_subquery(), 0)
    waiting = select(func.count()).where(_R.status == _QUEUED, _R.lane == _LANE).scalar_subquery()
    # The breaker lets one request through, as its probe.
    is_probed = select(lane.c.name).where(has_breaker_of(_LANE), lane.c.failures >= FAILURES).exists()
    return func.least(free - waiting, left.scalar_subquery(), case((is_probed, 1 - waiting)), type_=Integer)


_IS_CLOSED = or_(
    select(lane.c.name).where(has_breaker_of(_LANE), lane.c.retry_at > NOW).exists(),
    select(lane.c.name).where(obeyed(_LANE), or_(is_paced(), lane.c.is_full)).exists(),
)
_ROOM = prepared(select(_MODEL, _LANE, _room().label("room")).where(fleet.is_served(_MODEL), ~_IS_CLOSED))

_LANES_OF = select(lane_of_column(_GIVEN.c.model)).scalar_subquery()
_WAITING = prepared(
    select(_R.id, _R.owner_id, _R.conversation_id, _R.model)
    .where(
        _R.status == _QUEUED,
        # Along the index of the lanes.
        _R.lane == func.any(func.array(_LANES_OF)),
        _R.model == func.any(bindparam("of_models", type_=ARRAY(Text))),
        _R.model + literal_column("' '", Text) + _R.owner_id != func.all(bindparam("refused", type_=ARRAY(Text))),
        _R.asked_model.is_(None),
        _R.stop_requested_at.is_(None),
        _R.deadline_at > NOW,
        _R.call_id.is_(None),  # its answer goes on at the provider
        UNSEEN,
    )
    .order_by(_R.fair_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True, of=chat_request)
)
