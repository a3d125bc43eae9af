"""Allowances of attempts to sign in, held in the database and so over all web processes.

Each key has a number of attempts that refills evenly over PERIOD (the generic cell rate algorithm: a key's row has the
time at which its allowance is whole again). An attempt is taken before the password is checked, so that parallel
guesses count too, and given back when it was right: an honest crowd behind one address never runs out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from shared.errors import TooManySignIns
from shared.postgres.database import transaction
from shared.tables import sign_in_allowance

PERIOD = timedelta(minutes=15)
_A = sign_in_allowance.c
#: One moment for the whole transaction.
_NOW = func.now()


def take(engine: Engine, keys: Mapping[str, int]) -> None:
    """Take one attempt from each key; the value is its number of attempts in PERIOD. Raises TooManySignIns.

    A refused attempt takes nothing.
    """
    with transaction(engine) as connection:
        take_in(connection, keys)


def take_in(connection: Connection, keys: Mapping[str, int]) -> None:
    """Do the same in the caller's transaction, which a refusal should end."""
    for key, most in sorted(keys.items()):  # the same order everywhere, so that no two transactions deadlock
        _take_one(connection, key, most)


def give_back(engine: Engine, keys: Mapping[str, int]) -> None:
    """Give back one attempt to each key."""
    with transaction(engine) as connection:
        for key, most in sorted(keys.items()):
            cost = PERIOD / most
            connection.execute(update(sign_in_allowance).where(_A.key == key).values(whole_at=_A.whole_at - cost))


def forget(engine: Engine, key: str) -> None:
    """Make the key's allowance whole again."""
    with transaction(engine) as connection:
        connection.execute(delete(sign_in_allowance).where(_A.key == key))


def _take_one(connection: Connection, key: str, most: int) -> None:
    cost = PERIOD / most
    new = insert(sign_in_allowance).values(key=key, whole_at=_NOW + cost)
    taken = new.on_conflict_do_update(
        index_elements=[_A.key],
        set_={"whole_at": func.greatest(_A.whole_at, _NOW) + cost},
        where=_A.whole_at <= _NOW + (PERIOD - cost),
    )
    if connection.execute(taken.returning(_A.key)).one_or_none() is not None:
        return
    wait = select(func.extract("epoch", _A.whole_at - (_NOW + (PERIOD - cost)))).where(_A.key == key)
    seconds = connection.execute(wait).scalar_one()
    raise TooManySignIns(max(1, math.ceil(float(seconds) / 60)))
