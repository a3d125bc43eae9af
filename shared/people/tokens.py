"""Tokens: random texts that a cookie or a link holds. The database has their hashes only."""

from __future__ import annotations

import secrets
from hashlib import sha256

#: 256 random bits. A hash without salt is enough for them.
_BYTES = 32


def new_token() -> str:
    """Return a new token: 43 letters, digits, - and _."""
    return secrets.token_urlsafe(_BYTES)


def hash_of(token: str) -> bytes:
    """Return what the database has of a token."""
    return sha256(token.encode()).digest()
