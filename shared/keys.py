"""The keys in NARU_SECRET_KEY: one, or several with commas or whitespace between them, the newest first.

The first key signs, all of them verify. So a key is replaced without anyone losing their conversations: put a new one
first, and take the old one out when the browsers have come by.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256

#: A signing key is as long as SHA-256's result at least: no shorter key uses its strength (RFC 2104, 3).
LEAST_BYTES = 32
_SEPARATOR = re.compile(r"[\s,]+")


def keys_in(text: str) -> tuple[str, ...]:
    """Return the keys, newest first, each once; none for an empty text."""
    return tuple(dict.fromkeys(key for key in _SEPARATOR.split(text) if key))


def endings_of(text: str) -> tuple[str, ...]:
    """Return the text itself and what follows each separator.

    Earlier versions took the whole text for one key, whatever it held. Such a key stays one when new keys are put
    before it.
    """
    starts = [0, *(found.end() for found in _SEPARATOR.finditer(text))]
    return tuple(dict.fromkeys(ending for start in starts if (ending := text[start:])))


def is_strong(key: str) -> bool:
    """Whether the key may sign; a weaker one may still verify what it signed."""
    return len(key.encode()) >= LEAST_BYTES


def key_id(key: str) -> str:
    """Return 8 hex digits that tell keys apart and do not give them away."""
    return sha256(b"naru.key:" + key.encode()).hexdigest()[:8]


def new_key() -> str:
    """Return a new key: letters, digits, - and _."""
    return secrets.token_urlsafe(LEAST_BYTES)
