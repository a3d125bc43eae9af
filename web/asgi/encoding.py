"""Content codings: choose the one that a client prefers, and compress with it.

`static.py` and the routes decide what is compressed and where the result is kept.
"""

from __future__ import annotations

import gzip
from typing import Literal

import brotli
from starlette.datastructures import Headers

Coding = Literal["br", "gzip"]

#: In order of preference. zstd is no smaller than Brotli here, and no browser accepts it alone.
CODINGS: tuple[Coding, ...] = ("br", "gzip")
#: Qualities of Brotli: 11 takes 60 times as long as 5 and saves a tenth, 9 takes 6 times as long.
BEST, GOOD, QUICK = 11, 9, 5


def coding_for(given: Headers) -> Coding | None:
    """Return the coding that the client prefers (RFC 9110, 12.5.3), the smaller among equals; None for no coding."""
    weights = _weights(",".join(given.getlist("accept-encoding")))
    usable = [(weights.get(coding, weights.get("*", 0.0)), coding) for coding in CODINGS]
    weight, coding = max(usable, key=lambda each: each[0])
    return coding if weight > 0 and weight >= weights.get("identity", 0.0) else None


def compress(content: bytes, coding: Coding, *, quality: int = QUICK) -> bytes:
    """Compress with this coding; `quality` is Brotli's, 0 to 11."""
    if coding == "br":
        compressed: bytes = brotli.compress(content, mode=brotli.MODE_TEXT, quality=quality)
        return compressed
    return gzip.compress(content, mtime=0)


def _weights(accept_encoding: str) -> dict[str, float]:
    found = {}
    for item in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name:
            found[name] = _weight(parameters)
    return found


def _weight(parameters: list[str]) -> float:
    """Parse a q-value. A malformed one is 0, so that the client gets no coding it may not accept."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
