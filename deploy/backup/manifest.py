"""The manifest of a backup: versions, row counts, hash and times, sealed with the key.

It holds the SHA-256 of the encrypted file and an HMAC over itself. So a truncated, changed or swapped file is detected
before it is decrypted.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.backup.key import Key
from deploy.backup.problem import BackupProblem, of_disk

FORM = 1
BLOCK = 1 << 20
SUFFIX, DUMP_SUFFIX = ".json", ".dump.enc"
NAME = re.compile(r"naru-\d{8}T\d{6}Z")  # a strict form, because it becomes part of paths
KINDS: dict[str, type] = {"str": str, "int": int, "dict[str, int]": dict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The manifest of one backup. Times are UTC, in ISO 8601."""

    form: int
    name: str
    naru: str
    schema: str  # its newest migration
    postgres: str
    pg_dump: int
    tables: dict[str, int]
    size: int  # of the encrypted file, in bytes
    sha256: str  # of the encrypted file
    cipher: str
    key_id: str
    began_at: str
    ended_at: str
    seal: str = ""

    @property
    def file(self) -> str:
        """The name of the encrypted file beside it."""
        return self.name + DUMP_SUFFIX

    @property
    def moment(self) -> datetime:
        """The time of the dump."""
        return datetime.fromisoformat(self.began_at).astimezone(UTC)

    @property
    def postgres_major(self) -> int:
        """The major version of the server that it was made from."""
        return int(self.postgres.partition(".")[0])

    def sealed(self, key: Key) -> Manifest:
        """Return a copy with its seal."""
        return Manifest(**{**asdict(self), "seal": key.seal(self._text())})

    def as_json(self) -> str:
        """Return the text of the manifest's file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def check_seal(self, key: Key) -> None:
        """Raise BackupProblem if the manifest was made with another key, or changed since."""
        if self.key_id != key.id:
            raise BackupProblem(
                f"{self.name} was made with another key (its id is {self.key_id}; yours is {key.id}). "
                "Set NARU_BACKUP_KEY_FILE to the file of that key."
            )
        if self.seal != key.seal(self._text()):
            raise BackupProblem(f"the manifest of {self.name} was changed after it was written. Use another backup.")

    def _text(self) -> bytes:
        values = {name: value for name, value in asdict(self).items() if name != "seal"}
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def parse(text: str, *, where: str) -> Manifest:
    """Parse a manifest. Raises BackupProblem if it is not valid; `where` names it in the message."""
    try:
        values: dict[str, Any] = json.loads(text)
        found = Manifest(**values)
        datetime.fromisoformat(found.began_at)
    except (ValueError, TypeError):
        raise BackupProblem(f"{where} is not the manifest of a backup. Use another backup.") from None
    whole = all(isinstance(getattr(found, each.name), KINDS[str(each.type)]) for each in fields(Manifest))
    if found.form != FORM or not whole or not NAME.fullmatch(found.name):
        raise BackupProblem(f"{where} is a manifest of another version of Naru. Restore it with that version.")
    return found


def read(path: Path) -> Manifest:
    """Read the manifest in a file. Raises BackupProblem."""
    try:
        return parse(path.read_text(encoding="utf-8"), where=path.name)
    except UnicodeDecodeError:
        raise BackupProblem(f"{path.name} is not the manifest of a backup. Use another backup.") from None
    except OSError as error:
        raise of_disk(error, where=path) from None


def check_file(manifest: Manifest, path: Path) -> None:
    """Raise BackupProblem if the encrypted file does not match the manifest."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
    except FileNotFoundError:
        raise BackupProblem(f"{path.name} is missing beside its manifest. Use another backup.") from None
    except OSError as error:
        raise of_disk(error, where=path) from None
    if size != manifest.size:
        raise BackupProblem(f"{path.name} is truncated: it has {size} of {manifest.size} bytes. Use another backup.")
    if digest.hexdigest() != manifest.sha256:
        raise BackupProblem(f"{path.name} was changed after it was written. Use another backup.")
