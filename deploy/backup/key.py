"""The key of the backups: made once, read from a setting, and what is derived from it.

One line of text with 256 random bits. It goes to openssl as a passphrase (programs.py) through a pipe, never through a
command line; what authenticates a manifest is derived from it.
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
    "      Keep a copy of it where the backups are not: without the key no backup can be read, by anyone."
)


@dataclass(frozen=True, slots=True)
class Key:
    """The secret, and what is made of it."""

    secret: str = field(repr=False)

    @property
    def id(self) -> str:
        """Tells two keys apart, and says nothing of either."""
        return self._derived("naru backup key id").hex()[:12]

    def seal(self, text: bytes) -> str:
        """What only a holder of the key can have put under `text`."""
        return hmac.new(self._derived("naru backup manifest"), text, hashlib.sha256).hexdigest()

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self.secret.encode(), purpose.encode(), "sha256")


def key_from(text: str) -> Key:
    """The key as the setting has it. Raises BackupProblem when it is none."""
    if not text:
        raise BackupProblem(f"there is no key: NARU_BACKUP_KEY_FILE is not set.\n      {HOW_TO}")
    if len(text) < LEAST_CHARACTERS:
        raise BackupProblem(f"NARU_BACKUP_KEY holds no key: it has fewer than {LEAST_CHARACTERS} characters. {HOW_TO}")
    return Key(text)


def make_key(path: Path) -> Key:
    """A new key in a new file that its owner alone can read; never over another one."""
    secret = secrets.token_hex(32)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise BackupProblem(f"{path} is there already: a key that backups were made with is never replaced.") from None
    except OSError as error:
        raise of_disk(error, where=path) from None
    return Key(secret)
