"""Reserves what an attempt may use, before its provider is called, where limits of tokens or money hold.

One transaction at a time decides for an owner, so that answers that begin together share what is left. The end of the
attempt replaces the reservation by what was used (`shared/spending/settling.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Engine, bindparam, select, update

from shared.errors import OTHERS_FIRST, PRICE_UNKNOWN
from shared.lifecycle.values import Claimed
from shared.people import Owner
from shared.postgres.database import transaction
from shared.postgres.prepared import prepared
from shared.settings import REFUSE, Settings
from shared.spending import limits
from shared.spending.limits import Allowance
from shared.spending.values import Reservation
from shared.tables import Status, chat_request, request_attempt

_R, _A = chat_request.c, request_attempt.c


_THE_REQUEST, _IN_ATTEMPT = bindparam("the_request", type_=_R.id.type), bindparam("in_attempt", type_=_R.attempt.type)
_OWNER = prepared(
    select(_R.owner_id).where(_R.id == _THE_REQUEST, _R.attempt == _IN_ATTEMPT, _R.status == Status.RUNNING)
)
_RESERVE = prepared(
    update(request_attempt)
    .where(_A.request_id == _THE_REQUEST, _A.attempt == _IN_ATTEMPT, _A.ended_at.is_(None))
    .values(
        prompt_tokens=bindparam("set_prompt_tokens"),
        reserved_tokens=bindparam("set_tokens"),
        reserved_cost=bindparam("set_cost"),
        input_price=bindparam("set_input_price"),
        output_price=bindparam("set_output_price"),
    )
)


def reserve(
    engine: Engine, claimed: Claimed, reservation: Reservation, settings: Settings, *, is_paid: bool = False
) -> str | None:
    """Reserve for this attempt; return the code of the reason if it must not call its provider.

    A limit that is used up gives that refusal's code. OTHERS_FIRST: running answers have reserved what is left. An
    attempt that runs alone may begin as long as anything is left, so a limit is exceeded by one answer at most. An
    attempt whose call `is_paid`, because it takes up a running one, is never refused. Raises Unavailable.
    """
    with transaction(engine) as connection:
        this = {"the_request": claimed.request_id, "in_attempt": claimed.attempt}
        owner_id = connection.execute(_OWNER, this).scalar_one_or_none()
        if owner_id is None:
            return None  # the worker lost it: its writes are refused, and it is interrupted
        owner = Owner.from_key(owner_id)
        theirs = limits.groups_of(connection, owner)
        limits.lock(connection, owner, theirs)
        if not is_paid:
            allowances = limits.allowances_of(connection, owner, settings, theirs=theirs)
            if refusal := _refusal(allowances, reservation, settings):
                return refusal
        connection.execute(_RESERVE, this | {f"set_{name}": value for name, value in asdict(reservation).items()})
    return None


def _refusal(allowances: Sequence[Allowance], reservation: Reservation, settings: Settings) -> str | None:
    for allowance in allowances:
        if reached := allowance.reached():
            return reached.code
        is_beyond = allowance.exceeded_by(reservation.tokens, reservation.cost)
        if is_beyond and allowance.used.running:
            return OTHERS_FIRST
    is_money_limited = any(allowance.limits.money_per_month for allowance in allowances)
    if reservation.cost is None and is_money_limited and settings.unknown_price == REFUSE:
        return PRICE_UNKNOWN
    return None
