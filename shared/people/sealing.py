"""Encrypts what the database keeps and somebody has to read again: the secrets of second factors.

The keys come from NARU_SECRET_KEY. The newest one encrypts, and every key decrypts, as with cookies. Beside each
ciphertext the database has the id of its key, so that those of older keys are found and encrypted anew.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shared.keys import key_id, keys_in

_PURPOSE = b"naru.second-factor"


class Unreadable(Exception):
    """The text was changed, is too old, or was encrypted with a key that NARU_SECRET_KEY does not have."""


class Sealing:
    """Encrypts and decrypts with the keys of a deployment (Fernet: AES-128-CBC with HMAC-SHA-256)."""

    def __init__(self, secret_key: str) -> None:
        keys = keys_in(secret_key)
        self.key_id = key_id(keys[0])
        self._fernet = MultiFernet([Fernet(_derived(key)) for key in keys])

    def seal(self, text: str) -> str:
        """Encrypt with the newest key."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str, *, seconds: int | None = None) -> str:
        """Decrypt with any of the keys. Raises Unreadable, also for a text that was sealed more than `seconds` ago."""
        try:
            return self._fernet.decrypt(sealed, ttl=seconds).decode()
        except InvalidToken:
            raise Unreadable from None


def _derived(key: str) -> bytes:
    """Return a key for this purpose alone: it must not be the one that signs cookies."""
    return urlsafe_b64encode(hmac.digest(key.encode(), _PURPOSE, "sha256"))
