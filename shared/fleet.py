"""The worker rows: register, renew the lease, drain, leave; and the page's queries about the fleet.

Each worker process has one row and one lease for everything that it runs. The reconciler marks workers lost and takes
back their requests; the thread that renews leases is `workers/process/lease.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Engine,
    Interval,
    Text,
    and_,
    cast,
    func,
    insert,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared import audit
from shared.audit import Kind
from shared.errors import UnknownModel
from shared.postgres.database import statement, transaction
from shared.postgres.prepared import prepared
from shared.tables import Status, chat_request, lane, reconciler_tick, request_attempt, shown_model, worker
from shared.tuning import NO_TUNING, Tuning

_NOW = func.clock_timestamp()
_W = worker.c
#: While no worker is live, the page offers the models of workers that were live within this time. So a question asked
#: during a deploy keeps its model.
REMEMBERED_SECONDS = 86_400
#: Longest wait of the lease thread for Postgres, connecting included. A renewal that hangs leaves time for another one
#: within the lease.
LEASE_PATIENCE_SECONDS = 2.5
LEASE_RETRY_SECONDS = 0.5
#: A living worker renews within this time after Postgres is back: a wait that hangs, the pause, and a connect.
RECONNECT_SECONDS = 2 * LEASE_PATIENCE_SECONDS + LEASE_RETRY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that workers offer, as provider/model; `demo` marks the simulator.

    The titles are the names that people see, of the model and of its provider; a title that nobody gave is empty. A
    hidden model is not offered, but a conversation that began with it may go on. `defaults` hold in a conversation
    where the person set nothing else; a worker's row has the beginning of their instructions only.
    """

    name: str
    demo: bool
    title: str = ""
    provider: str = ""
    hidden: bool = False
    defaults: Tuning = NO_TUNING


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentProvider:
    """A provider that offers no model. `problem` is one of `workers/providers/listing.py`."""

    title: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A worker process, as it registers itself."""

    worker_id: UUID
    host: str
    pid: int
    version: str
    slots: int
    models: Sequence[Model]
    absent: Sequence[AbsentProvider] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The workers that can take a question now, their slots in total, and the models on offer.

    `absent` has the providers of the live workers that offer no model.
    """

    live_workers: int
    slots: int
    models: tuple[Model, ...]
    absent: tuple[AbsentProvider, ...] = ()

    @property
    def shown(self) -> tuple[Model, ...]:
        """The models that the picker shows, in its order."""
        return tuple(model for model in self.models if not model.hidden)

    def default(self) -> str:
        """Return the model of a question for which nobody chose one: the first in the picker; "" if none is known.

        Raises NoModelShown.
        """
        shown = self.shown
        if self.models and not shown:
            raise NoModelShown
        return shown[0].name if shown else ""


class NoModelShown(UnknownModel):
    """No model is shown, because an administrator has hidden all. ./naru providers show MODEL shows one again."""

    code = "no_model_shown"


def register(engine: Engine, member: Member, *, lease_seconds: float) -> None:
    """Insert the worker's row with a new lease."""
    with transaction(engine) as connection:
        connection.execute(
            insert(worker).values(
                id=member.worker_id,
                host=member.host,
                pid=member.pid,
                version=member.version,
                slots=member.slots,
                **_offered(member),
                lease_expires_at=_NOW + timedelta(seconds=lease_seconds),
            )
        )


@dataclass(frozen=True, slots=True)
class Renewal:
    """The result of renewing a lease."""

    #: The attempts that run in it according to their rows, (request_id, attempt), and whether someone asked for a stop.
    running: Mapping[tuple[UUID, int], bool]
    #: Seconds since the last tick of any process; None before the first.
    ticked_ago: float | None
    #: The names of all lanes.
    lanes: frozenset[str] = frozenset()
    #: Whether an administrator asked this worker to drain.
    is_drain_requested: bool = False


def renew(
    connection: Connection, worker_id: UUID, *, lease_seconds: float, consumed: bool, free: Mapping[str, int]
) -> Renewal | None:
    """Renew the worker's lease, in one statement; return None if its row is missing or marked lost.

    `consumed` says whether its broker connection has worked since the last renewal; `free` says for each lane how many
    more answers it can take.
    """
    values: dict[str, Any] = {
        "renewed_at": _NOW,
        "lease_expires_at": _NOW + timedelta(seconds=lease_seconds),
        "free": dict(free),
    }
    if consumed:
        values["consumed_at"] = _NOW
    r = chat_request.c
    renewed = (
        update(worker)
        .where(_W.id == worker_id, _W.lost_at.is_(None))
        .values(**values)
        .returning(_W.id, _W.drain_requested_at.is_not(None).label("drain"))
        .cte("renewed")
    )
    ticked_ago = select(cast(func.extract("epoch", _NOW - reconciler_tick.c.lanes_ticked_at), Double)).scalar_subquery()
    lanes = select(func.array_agg(lane.c.name)).scalar_subquery().label("lanes")
    stopped = r.stop_requested_at.is_not(None).label("stopped")
    rows = connection.execute(
        select(r.id, r.attempt, stopped, ticked_ago.label("ticked_ago"), lanes, renewed.c.drain)
        .select_from(renewed)
        .outerjoin(chat_request, and_(r.worker_id == renewed.c.id, r.status == Status.RUNNING))
    ).all()
    if not rows:
        return None
    running = {(row.id, row.attempt): row.stopped for row in rows if row.id is not None}
    return Renewal(running, rows[0].ticked_ago, frozenset(rows[0].lanes or ()), rows[0].drain)


def offer(connection: Connection, member: Member) -> None:
    """Update the models that this worker offers."""
    connection.execute(update(worker).where(_W.id == member.worker_id).values(**_offered(member)))


def _offered(member: Member) -> dict[str, Any]:
    return {
        "models": list(_entries(member.models)),
        "absent": [{"title": each.title, "problem": each.problem} for each in member.absent],
    }


def _entries(models: Sequence[Model]) -> Iterator[dict[str, Any]]:
    """Yield the JSON of each model.

    Thousands of models may share their defaults: the first has them, and the others have its place.
    """
    places: dict[Tuning, int] = {}
    for place, model in enumerate(models):
        entry: dict[str, Any] = {"name": model.name, "demo": model.demo}
        titles = {"title": model.title, "provider": model.provider}
        entry |= {key: text for key, text in titles.items() if text}
        if model.defaults:
            first = places.setdefault(model.defaults, place)
            entry["defaults"] = model.defaults.excerpt().values() if first == place else first
        yield entry


def request_drain(engine: Engine, worker_id: UUID) -> bool:
    """Ask a worker to drain and end, as SIGTERM does; False if it has ended, or was asked before.

    It learns of this at the next renewal of its lease.
    """
    asked = (_W.id == worker_id, _W.lost_at.is_(None), _W.drain_requested_at.is_(None))
    with transaction(engine) as connection:
        is_asked = bool(connection.execute(update(worker).where(*asked).values(drain_requested_at=_NOW)).rowcount)
        if is_asked:
            audit.record(connection, Kind.WORKER_DRAINED, worker=str(worker_id))
        return is_asked


def start_draining(connection: Connection, worker_id: UUID) -> None:
    """Mark the worker as draining: it takes no new requests."""
    connection.execute(update(worker).where(_W.id == worker_id).values(draining=True))


def leave(engine: Engine, worker_id: UUID) -> None:
    """Mark the worker as gone. The next tick takes back any request that still runs under its id."""
    with transaction(engine) as connection:
        connection.execute(
            update(worker).where(_W.id == worker_id, _W.lost_at.is_(None)).values(lost_at=_NOW, draining=True)
        )


def checkpoint(connection: Connection, worker_id: UUID, texts: Mapping[tuple[UUID, int], str]) -> None:
    """Write the text of running attempts, keyed (request_id, attempt), in one fenced UPDATE.

    Rows that this worker no longer owns stay unchanged.
    """
    if not texts:
        return
    given = (
        func.unnest(
            [key[0] for key in texts],
            [key[1] for key in texts],
            list(texts.values()),
        )
        .table_valued("request_id", "attempt", "content")
        .render_derived()
    )
    connection.execute(
        update(request_attempt)
        .where(
            request_attempt.c.request_id == given.c.request_id,
            request_attempt.c.attempt == given.c.attempt,
            # Postgres rechecks this row after waiting for a transaction that ends the attempt, but not the joined row.
            request_attempt.c.ended_at.is_(None),
            chat_request.c.id == given.c.request_id,
            and_(
                chat_request.c.status == Status.RUNNING,
                chat_request.c.attempt == given.c.attempt,
                chat_request.c.worker_id == worker_id,
            ),
        )
        .values(checkpoint=given.c.content)
    )


def fleet(engine: Engine) -> Fleet:
    """Return the current fleet; while no worker is live, with the models of the latest one.

    The models are in the order that an administrator gave them, then in that of the workers.
    """
    with statement(engine) as connection:
        row = connection.execute(_FLEET).one()
    absent = {(each["title"], each["problem"]): None for found in row.absent or () for each in found}
    return Fleet(
        live_workers=row.live_workers,
        slots=row.slots,
        models=_models_in(row.offers or "[]", row.shown or "{}"),
        absent=tuple(AbsentProvider(title=title, problem=problem) for title, problem in absent),
    )


@lru_cache(maxsize=8)
def _models_in(offers: str, shown_as: str) -> tuple[Model, ...]:
    """Return the models in these JSON texts, which may list thousands and mostly stay the same."""
    shown: Mapping[str, list[Any]] = json.loads(shown_as)
    offered = {entry["name"]: (entry, row) for row in json.loads(offers) for entry in row}
    models = [_model_of(*found, is_hidden=shown.get(name, (False,))[0]) for name, found in offered.items()]
    models.sort(key=lambda model: _place_in(shown, model.name))
    return tuple(models)


def _model_of(entry: Mapping[str, Any], row: Sequence[Mapping[str, Any]], *, is_hidden: bool) -> Model:
    defaults = entry.get("defaults")
    if isinstance(defaults, int):
        defaults = row[defaults]["defaults"]
    # A worker of a previous version gives no titles and no defaults.
    return Model(
        name=entry["name"],
        demo=entry["demo"],
        title=entry.get("title", ""),
        provider=entry.get("provider", ""),
        hidden=is_hidden,
        defaults=Tuning.read(defaults) if defaults else NO_TUNING,
    )


def _place_in(shown: Mapping[str, list[Any]], name: str) -> float:
    place = shown[name][1] if name in shown else None
    return math.inf if place is None else float(place)


# Workers mostly offer the same models, so one list of each kind is returned: that of the newest worker comes first.
_FLEET = prepared(
    text(
        """
        WITH live AS (
            SELECT slots, models, absent, started_at FROM worker
            WHERE lost_at IS NULL AND NOT draining AND lease_expires_at > statement_timestamp()
        ), latest AS (
            SELECT models, started_at FROM worker
            WHERE renewed_at > statement_timestamp() - make_interval(secs => :remembered)
              AND NOT EXISTS (SELECT FROM live)
            ORDER BY renewed_at DESC LIMIT 1
        ), offers AS (
            SELECT models, max(started_at) AS started_at
            FROM (SELECT models, started_at FROM live UNION ALL SELECT models, started_at FROM latest) AS each
            GROUP BY models
        )
        SELECT (SELECT count(*) FROM live)::int AS live_workers,
               (SELECT coalesce(sum(slots), 0) FROM live)::int AS slots,
               (SELECT jsonb_agg(models ORDER BY started_at DESC) FROM offers)::text AS offers,
               (SELECT jsonb_agg(DISTINCT absent) FROM live WHERE absent <> '[]') AS absent,
               (SELECT jsonb_object_agg(model, jsonb_build_array(hidden, place)) FROM shown_model)::text AS shown
        """
    ).bindparams(remembered=REMEMBERED_SECONDS)
)


def default_model() -> ColumnElement[str]:
    """The same as `Fleet.default`; null while no worker is live, or while all models are hidden."""
    offered = func.jsonb_array_elements(_W.models).table_valued("value", with_ordinality="place", name="offered")
    entry, s = offered.render_derived(), shown_model.c
    name = cast(entry.c.value, JSONB)["name"].astext
    return (
        select(name)
        .select_from(worker.join(entry, true()).outerjoin(shown_model, s.model == name))
        .where(_W.lost_at.is_(None), _W.lease_expires_at > _NOW, ~_W.draining, s.hidden.is_not(True))
        .order_by(s.place.nulls_last(), _W.started_at.desc(), entry.c.place)
        .limit(1)
        .scalar_subquery()
    )


def may_offer(model: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a worker that was live within REMEMBERED_SECONDS offers this model; true if there is no such worker."""
    lately = cast(timedelta(seconds=REMEMBERED_SECONDS), Interval)
    known = select(_W.id).where(_W.renewed_at > _NOW - lately)
    return or_(~known.exists(), known.where(_offers(model)).exists())


def is_served(model: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a worker that can take a question now offers this model."""
    return select(_W.id).where(_W.lost_at.is_(None), _W.lease_expires_at > _NOW, ~_W.draining, _offers(model)).exists()


def _offers(model: ColumnElement[str]) -> ColumnElement[bool]:
    named = func.jsonb_build_array(func.jsonb_build_object(cast("name", Text), cast(model, Text)))
    return cast(_W.models, JSONB).op("@>")(named)
