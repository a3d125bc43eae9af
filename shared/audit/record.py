"""Record an event, in the transaction of what it is about."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from sqlalchemy import Connection, insert

from shared.audit.acting import who_acts
from shared.audit.kinds import DETAILS, Kind, longest
from shared.logs import HTTP_REQUEST_ID, bound_id
from shared.tables import audit_event

log = logging.getLogger(__name__)

#: Longest actor, subject, address and id of a request.
LONGEST = 300
#: Control characters, and those that change the direction of the text around them.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

Detail = str | int | Mapping[str, int]


def record(
    connection: Connection, kind: Kind, *, subject: str = "", actor: str | None = None, **details: Detail
) -> str:
    """Record an event at the end of the caller's transaction, and return its hash in hex.

    `subject` is the key of the owner, or the id of the conversation, that it concerns. `actor` stands for `who_acts()`.
    A transaction that has recorded holds the chain's lock until it ends: it must not wait for another lock afterwards.
    Raises ValueError for a detail that `DETAILS` does not name.
    """
    unknown = set(details) - DETAILS.get(kind, frozenset())
    if unknown:
        raise ValueError(f"{kind} has no detail {', '.join(sorted(unknown))}")
    by = who_acts()
    values = {
        "seq": 0,  # the database gives the number, as well as the time and the hash
        "kind": kind.value,
        "actor": printable(by.actor if actor is None else actor),
        "subject": printable(subject),
        "address": printable(by.address),
        "http_id": printable(bound_id(HTTP_REQUEST_ID)),
        "details": {name: _bounded(name, value) for name, value in details.items()},
    }
    row = connection.execute(insert(audit_event).values(values).returning(audit_event.c.seq, audit_event.c.hash)).one()
    digest: str = row.hash.hex()
    # The log is another place that knows the head: `naru audit verify --head` compares.
    log.info("event recorded", extra={"event": kind.value, "event_number": row.seq, "event_hash": digest})
    return digest


def printable(text: str, most: int = LONGEST) -> str:
    """Return the text on one line, without unprintable characters, cut to `most` characters."""
    return _UNPRINTABLE.sub(" ", text)[:most]


def _bounded(name: str, value: Detail) -> Detail:
    return printable(value, longest(name)) if isinstance(value, str) else value
