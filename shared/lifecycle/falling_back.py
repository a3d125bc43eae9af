"""Falling back: another model takes over a request whose own is away.

The request returns to the queue with the other model and that model's lane. So the lane's limit, its breaker and the
owner's limits hold without anything more. It keeps its place, `fair_at`, as if it had waited there from the beginning.
Only a request of which nobody has seen a word falls back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Text, and_, func, literal, select, update

from shared import fleet
from shared.lifecycle.ending import NO_CALL, NOW, SPENT, close_attempt, values_of
from shared.lifecycle.lanes import FAILURES, has_breaker_of, lane_of_column
from shared.lifecycle.values import Claimed
from shared.lifecycle.working import FENCE_UNSTOPPED, fence_values
from shared.people import Owner, groups
from shared.postgres import notify
from shared.postgres.database import transaction
from shared.settings import GUEST, REFUSE, Settings
from shared.spending import limits
from shared.spending.settling import summed
from shared.spending.values import Spent
from shared.tables import Outcome, Status, chat_request, lane, request_attempt

_R = chat_request.c
#: A pause of this length is waited for; during a longer one another model answers.
PATIENCE_SECONDS = 5.0
#: Whether nobody has seen a word of the request's answer. Each attempt keeps its text until the request ends.
UNSEEN = and_(
    _R.broken_streams == 0,
    ~select(request_attempt.c.request_id)
    .where(request_attempt.c.request_id == _R.id, request_attempt.c.checkpoint != "")
    .exists(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detour:
    """The models that may stand in for one that is away, the best first; `unpriced` are those without a price."""

    models: tuple[str, ...]
    unpriced: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class Target:
    """A model that takes a request over, and its lane."""

    model: str
    lane: str


def fall_back(
    engine: Engine,
    claimed: Claimed,
    detour: Detour,
    settings: Settings,
    *,
    code: str,
    spent: Spent | None = None,
    only_open: bool = False,
    call_id: str | None = None,
) -> str | None:
    """Return the request to the queue for another model, because of `code`; return that model's lane.

    None where the worker lost the request, somebody asked for a stop or has seen text, or no model can take it. With
    `only_open`, a model whose breaker is open cannot. The attempt's record keeps `call_id`, a call that may still run:
    `orphaned_calls` returns it until it is cancelled.
    """
    values = fence_values(claimed)
    left_call = NO_CALL if call_id is None else {"call_id": call_id, "call_model": claimed.model}
    with transaction(engine) as connection:
        owner_id = connection.execute(
            select(_R.owner_id).where(*FENCE_UNSTOPPED, UNSEEN).with_for_update(of=chat_request), values
        ).scalar()
        if owner_id is None:
            return None
        target = _target(connection, Owner.from_key(owner_id), detour, settings, only_open=only_open)
        if target is None:
            return None
        freed = (
            update(chat_request)
            .where(*FENCE_UNSTOPPED)
            .values(status=Status.QUEUED, worker_id=None, **moved_to(target, code))
            # The tokens of this attempt count for the model that it called.
            .returning(_R.id, _R.attempt, _R.owner_id, literal(claimed.model).label("model"))
            .cte("freed")
        )
        closed = close_attempt(freed, outcome=Outcome.FELL_BACK, code=code, text="", spent=SPENT, left_call=left_call)
        freeing = select(freed.c.id).add_cte(closed, summed(freed, closed))
        connection.execute(freeing, {**values, **values_of(spent)}).one()
        notify.after_commit(connection, notify.REQUEST, claimed.request_id, claimed.conversation_id)
    return target.lane


def moved_to(target: Target, code: str) -> dict[str, Any]:
    """Return the values of a request that `target` takes over. The first reason is the one that people read."""
    return {
        "model": target.model,
        "lane": target.lane,
        "asked_model": func.coalesce(_R.asked_model, _R.model),
        "asked_code": func.coalesce(_R.asked_code, code),
        "available_at": NOW,
        "wait_code": None,
        # The other model has tries of its own.
        "tries": 0,
        "retrying_since": None,
        "call_id": None,
    }


def _target(
    connection: Connection, owner: Owner, detour: Detour, settings: Settings, *, only_open: bool
) -> Target | None:
    """Return the first model that workers offer and the owner may use; one with an open breaker comes last."""
    models = allowed(connection, owner, detour, settings)
    if not models:
        return None
    given = func.unnest(models).table_valued("model", with_ordinality="place").render_derived()
    model: ColumnElement[str] = given.c.model.cast(Text)
    named = select(model.label("model"), lane_of_column(model).label("lane"), given.c.place).subquery("named")
    is_closed = _open_breaker(named.c.lane).exists()
    found = (
        select(named.c.model, named.c.lane)
        .where(fleet.is_served(named.c.model), *([~is_closed] if only_open else []))
        .order_by(is_closed, named.c.place)
        .limit(1)
    )
    row = connection.execute(found).one_or_none()
    return None if row is None else Target(row.model, row.lane)


def allowed(connection: Connection, owner: Owner, detour: Detour, settings: Settings) -> Sequence[str]:
    """Return the models of the detour that the owner's groups and NARU_UNKNOWN_PRICE permit."""
    models = list(detour.models)
    if settings.auth != GUEST:
        models = groups.usable(connection, owner, models)
    if settings.unknown_price == REFUSE and detour.unpriced.intersection(models):
        allowances = limits.allowances_of(connection, owner, settings)
        if any(allowance.limits.money_per_month for allowance in allowances):
            return [each for each in models if each not in detour.unpriced]
    return models


def _open_breaker(of_lane: ColumnElement[str]) -> Any:
    """Select the reason of an open breaker for this lane."""
    return select(lane.c.code).where(has_breaker_of(of_lane), lane.c.failures >= FAILURES, lane.c.retry_at > NOW)
