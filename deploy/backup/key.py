"""The key of the backups: make it, read it from the settings, and derive other keys from it.

It is one line of text with 256 random bits. It goes to openssl as a passphrase through a pipe (programs.py), never
through a command line. The key that seals manifests is derived from it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from deploy.backup.problem import BackupProblem, of_disk

LEAST_CHARACTERS = 32
HOW_TO = (
    "Make one with ./naru backup --new-key FILE, and set NARU_BACKUP_KEY_FILE to that file.\n"
    "      Keep a copy of it away from the backups: without the key, nobody can read any backup."
)


@dataclass(frozen=True, slots=True)
class Key:
    """The secret, with the keys that are derived from it."""

    secret: str = field(repr=False)

    @property
    def id(self) -> str:
        """An identifier that reveals nothing about the key."""
        return self._derived("naru backup key id").hex()[:12]

    def seal(self, text: bytes) -> str:
        """Return an HMAC-SHA256 over `text`, in hex, which only a holder of the key can make."""
        return hmac.new(self._derived("naru backup manifest"), text, hashlib.sha256).hexdigest()

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self.secret.encode(), purpose.encode(), "sha256")


def key_from(text: str) -> Key:
    """Make a key from the setting. Raises BackupProblem if it is empty or too short."""
    if not text:
        raise BackupProblem(f"there is no key: NARU_BACKUP_KEY_FILE is not set.\n      {HOW_TO}")
    if len(text) < LEAST_CHARACTERS:
        raise BackupProblem(
            f"NARU_BACKUP_KEY is not a valid key: it has fewer than {LEAST_CHARACTERS} characters. {HOW_TO}"
        )
    return Key(text)


def make_key(path: Path) -> Key:
    """Write a new key to a new file that only its owner can read. Raises BackupProblem if the file exists."""
    secret = secrets.token_hex(32)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise BackupProblem(
            f"{path} already exists. Naru never overwrites a key: backups may need it. Choose another file."
        ) from None
    except OSError as error:
        raise of_disk(error, where=path) from None
    return Key(secret)
