"""The keys in NARU_SECRET_KEY: one or several, newest first, separated by commas or whitespace.

The first key signs, and every key verifies. To replace a key without anyone losing conversations, put the new one first
and remove the old one once browsers have returned.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256

#: Shortest signing key: the length of a SHA-256 digest (RFC 2104, section 3).
LEAST_BYTES = 32
_SEPARATOR = re.compile(r"[\s,]+")


def keys_in(text: str) -> tuple[str, ...]:
    """Return the keys, newest first, each once; none for an empty text."""
    return tuple(dict.fromkeys(key for key in _SEPARATOR.split(text) if key))


def endings_of(text: str) -> tuple[str, ...]:
    """Return the text itself and its rest after each separator.

    Earlier versions used the whole text as one key, separators included. Such a key stays valid when new keys are put
    before it.
    """
    starts = [0, *(found.end() for found in _SEPARATOR.finditer(text))]
    return tuple(dict.fromkeys(ending for start in starts if (ending := text[start:])))


def is_strong(key: str) -> bool:
    """Whether the key may sign. A weaker key may still verify."""
    return len(key.encode()) >= LEAST_BYTES


def key_id(key: str) -> str:
    """Return 8 hex digits that identify a key without revealing it."""
    return sha256(b"naru.key:" + key.encode()).hexdigest()[:8]


def new_key() -> str:
    """Return a new key: letters, digits, - and _."""
    return secrets.token_urlsafe(LEAST_BYTES)
