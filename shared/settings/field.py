"""A setting as a dataclass field: its default, its sentence for the settings table, and its bounds."""

from __future__ import annotations

from dataclasses import field
from typing import Any

#: No number of ours is larger: beyond it clocks, sockets and Postgres's intervals overflow.
MOST = 1_000_000_000
LAST_PORT = 65_535


def setting(
    default: Any, doc: str, *, least: float | None = None, most: float = MOST, secret: bool = False, kind: str = ""
) -> Any:
    """A field with its one sentence for the settings table; `least` and `most` are the numbers allowed, `kind` is what
    a text has to be (shared/addresses.py)."""
    return field(
        default=default,
        repr=not secret,
        metadata={"doc": doc, "least": least, "most": most, "secret": secret, "kind": kind},
    )
