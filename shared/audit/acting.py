"""Who acts: a person's key, `terminal` for a command, or "" for nobody who is known; and from which address.

Set once around a request or a command, so that whatever records an event within knows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

#: The actor of events from the command line.
TERMINAL = "terminal"


@dataclass(frozen=True, slots=True)
class Acting:
    """`actor` is the key of an owner, or ""; `address` is the client's, or ""."""

    actor: str = ""
    address: str = ""


_NOBODY = Acting()
_ACTING: ContextVar[Acting] = ContextVar("naru_acting", default=_NOBODY)


@contextmanager
def acting(actor: str, address: str = "") -> Iterator[None]:
    """Name the actor of the events that are recorded within."""
    token = _ACTING.set(Acting(actor, address))
    try:
        yield
    finally:
        _ACTING.reset(token)


def who_acts() -> Acting:
    """Return the actor of the events that are recorded now."""
    return _ACTING.get()
