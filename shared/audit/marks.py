"""Marks on the chain: the sealed head, the anchor that the purge leaves, and how far the record was sent.

Head and anchor are signed with a key that is derived from NARU_SECRET_KEY. Only web processes have it, so only they
seal and purge. A head is sealed after the events since the sealed one were checked.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import takewhile

from sqlalchemy import Connection, Engine, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from shared.audit.chain import Broken, Link, walk
from shared.audit.kinds import Kind
from shared.audit.record import record
from shared.keys import key_id, keys_in
from shared.postgres.database import transaction
from shared.tables import audit_event, audit_mark

ANCHOR, HEAD, SENT = "anchor", "head", "sent"
BEGINNING = Link(0, b"")
#: Events that a purge removes in one transaction.
MOST_ROWS = 500
#: Held while a process takes over with other keys: "naru" on a phone keypad, then 6.
_LOCK = text("SELECT pg_advisory_xact_lock(62786)")
_E, _M = audit_event.c, audit_mark.c


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark as it is stored. `key_ids` are those of its time, newest first; the first one signed."""

    name: str
    link: Link
    key_ids: tuple[str, ...]
    signature: bytes

    def is_signed(self, keys: tuple[str, ...]) -> bool | None:
        """Whether one of the keys signed it; None if the key that signed is not among them."""
        signer = next((key for key in keys if key_id(key) in self.key_ids[:1]), None)
        return None if signer is None else hmac.compare_digest(self.signature, _sign(self.name, self.link, signer))


class Forged(Exception):
    """A mark does not fit its signature; the message names it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the {name} was changed: it does not fit its signature")


def marks_in(connection: Connection) -> dict[str, Mark]:
    """Return the marks by name."""
    rows = connection.execute(select(audit_mark))
    return {
        row.name: Mark(row.name, Link(row.seq, row.hash), tuple(row.key_ids.split()), row.signature) for row in rows
    }


def marks_of(engine: Engine) -> dict[str, Mark]:
    """Return the marks by name. Raises Unavailable."""
    with transaction(engine) as connection:
        return marks_in(connection)


def set_mark(connection: Connection, name: str, link: Link, keys: tuple[str, ...]) -> None:
    """Set a mark, signed with the first key."""
    values = {
        "seq": link.seq,
        "hash": link.hash,
        "key_ids": " ".join(_ids(keys)),
        "signature": _sign(name, link, keys[0]),
    }
    made = insert(audit_mark).values(name=name, **values)
    is_behind = _M.seq <= link.seq  # another process may have been faster
    connection.execute(made.on_conflict_do_update(index_elements=[_M.name], set_=values, where=is_behind))


def seal(engine: Engine, secret_key: str, *, is_first: bool) -> Link | None:
    """Seal the newest event, after a walk from the sealed one, and return it; None if there was nothing to seal.

    `is_first` says that this process has not sealed yet. It takes over with its keys then, and records their change;
    later, another process with newer keys has taken over. Raises Broken and Forged, and leaves the seal as it is then.
    """
    keys = keys_in(secret_key)
    marks = marks_of(engine)
    for name in (HEAD, ANCHOR):
        if name in marks and marks[name].is_signed(keys) is False:
            raise Forged(name)
    if HEAD in marks and marks[HEAD].key_ids != _ids(keys):
        if not is_first:
            return None
        _take_over(engine, keys)
        marks = marks_of(engine)
    head = marks.get(HEAD)
    start = _start(engine, head, marks.get(ANCHOR))
    end = start
    for end in walk(engine, start):  # noqa: B007 - the last one is sealed
        pass
    if end == BEGINNING or (head is not None and end == head.link):
        return None
    with transaction(engine) as connection:
        set_mark(connection, HEAD, end, keys)
    return end


def purge(engine: Engine, secret_key: str, *, days: int) -> int:
    """Remove up to MOST_ROWS sealed events that are older, and leave the anchor; return their number."""
    is_due = (_E.at < func.statement_timestamp() - timedelta(days=days)).label("is_due")
    oldest = select(_E.seq, _E.hash, is_due).order_by(_E.seq).limit(MOST_ROWS)
    with transaction(engine) as connection:
        head = marks_in(connection).get(HEAD)
        if head is None:
            return 0
        rows = connection.execute(oldest.where(_E.seq <= head.link.seq)).all()
        due = list(takewhile(lambda row: row.is_due, rows))  # an event with a later time keeps the following ones
        if not due:
            return 0
        set_mark(connection, ANCHOR, Link(due[-1].seq, due[-1].hash), keys_in(secret_key))
        return int(connection.execute(delete(audit_event).where(_E.seq <= due[-1].seq)).rowcount)


def _take_over(engine: Engine, keys: tuple[str, ...]) -> None:
    """Sign the marks with these keys, and record the change; also that the key that signed is gone."""
    with transaction(engine) as connection:
        connection.execute(_LOCK)
        marks = marks_in(connection)
        head = marks[HEAD]
        if head.key_ids == _ids(keys):
            return  # another process was first
        is_known = all(mark.is_signed(keys) for name, mark in marks.items() if name != SENT)
        for name in {HEAD, ANCHOR} & set(marks):
            set_mark(connection, name, marks[name].link, keys)
        before = " ".join(head.key_ids)
        record(connection, Kind.KEYS_CHANGED, before=before, keys=" ".join(_ids(keys)))
        if not is_known:
            record(connection, Kind.SEAL_RENEWED, before=before)


def _ids(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(key_id, keys))


def _start(engine: Engine, head: Mark | None, anchor: Mark | None) -> Link:
    """Return where the walk begins: at the sealed event, which must still be there."""
    first = BEGINNING if anchor is None else anchor.link
    if head is None or head.link.seq <= first.seq:
        return first
    with transaction(engine) as connection:
        found = connection.execute(select(_E.hash).where(_E.seq == head.link.seq)).scalar_one_or_none()
    if found != head.link.hash:
        raise Broken(head.link.seq, "is not the one that was sealed" if found else "was sealed and is missing")
    return head.link


def _note_change(engine: Engine, head: Mark, ids: tuple[str, ...], *, is_known: bool) -> None:
    before = " ".join(head.key_ids)
    with transaction(engine) as connection:
        record(connection, Kind.KEYS_CHANGED, before=before, keys=" ".join(ids))
        if not is_known:
            record(connection, Kind.SEAL_RENEWED, before=before)


def _sign(name: str, link: Link, key: str) -> bytes:
    derived = sha256(b"naru.audit:" + key.encode()).digest()
    return hmac.digest(derived, f"{name}:{link.seq}:".encode() + link.hash, "sha256")
