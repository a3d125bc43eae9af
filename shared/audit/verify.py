"""Verify the whole record: every event that is left, the anchor before the first and the sealed head."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from shared.audit.chain import Broken, walk
from shared.audit.marks import ANCHOR, BEGINNING, HEAD, Forged, Mark, marks_of
from shared.keys import keys_in

#: The purge may remove the first events during a walk; then it begins again.
ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The result of a walk along an unbroken chain.

    `last` and `head` are the number and the hash (hex) of the newest event; `first` is the oldest that is left.
    `sealed` is the newest sealed event, or 0. `is_proved` says whether the signatures were checked.
    """

    events: int
    first: int
    last: int
    head: str
    sealed: int
    is_proved: bool


class HeadMissing(Exception):
    """The chain is unbroken, but has no event with the given hash."""


def verify(engine: Engine, *, secret_key: str, head: str = "") -> Verified:
    """Walk along the chain, and check the marks; with `head` (hex), look for the event with this hash.

    Without the key that sealed, the signatures stay unchecked. Raises Broken, Forged, HeadMissing and Unavailable.
    """
    for _ in range(ROUNDS - 1):
        marks = marks_of(engine)
        try:
            return _verify(engine, marks, secret_key, head)
        except Broken:
            if marks_of(engine).get(ANCHOR) == marks.get(ANCHOR):
                raise
    return _verify(engine, marks_of(engine), secret_key, head)


def _verify(engine: Engine, marks: dict[str, Mark], secret_key: str, head: str) -> Verified:
    keys = keys_in(secret_key)
    signed = [marks[name].is_signed(keys) for name in (ANCHOR, HEAD) if name in marks]
    for name in (ANCHOR, HEAD):
        if name in marks and marks[name].is_signed(keys) is False:
            raise Forged(name)
    start = marks[ANCHOR].link if ANCHOR in marks else BEGINNING
    sealed = marks[HEAD].link if HEAD in marks else BEGINNING
    end, found = start, start.hash.hex() == head
    for end in walk(engine, start):
        if end.seq == sealed.seq and end.hash != sealed.hash:
            raise Broken(end.seq, "is not the one that was sealed")
        found = found or end.hash.hex() == head
    if end.seq < sealed.seq:
        what = "was sealed and is missing" if end.seq + 1 == sealed.seq else f"to {sealed.seq} are missing"
        raise Broken(end.seq + 1, what)
    if head and not found:
        raise HeadMissing
    return Verified(
        events=end.seq - start.seq,
        first=start.seq + 1 if end.seq > start.seq else 0,
        last=end.seq,
        head=end.hash.hex(),
        sealed=sealed.seq,
        is_proved=HEAD in marks and all(signed),
    )
