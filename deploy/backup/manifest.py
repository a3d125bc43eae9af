"""What is known of a backup: its versions, counts, hash and times; sealed with the key, so that all of it is believed.

The encrypted file's SHA-256 stands in the manifest, and the manifest carries an HMAC: so a cut, changed or exchanged
file is found out before anything of it is decrypted.
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
NAME = re.compile(r"naru-\d{8}T\d{6}Z")  # it becomes part of paths
KINDS: dict[str, type] = {"str": str, "int": int, "dict[str, int]": dict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One backup. Times are UTC, in ISO 8601."""

    form: int
    name: str
    naru: str
    schema: str  # the newest migration that is in it
    postgres: str
    pg_dump: int
    tables: dict[str, int]
    size: int  # of the encrypted file, in bytes
    sha256: str  # of the same
    cipher: str
    key_id: str
    began_at: str
    ended_at: str
    seal: str = ""

    @property
    def file(self) -> str:
        """The encrypted file beside it."""
        return self.name + DUMP_SUFFIX

    @property
    def moment(self) -> datetime:
        """What the data in it is of."""
        return datetime.fromisoformat(self.began_at).astimezone(UTC)

    @property
    def postgres_major(self) -> int:
        """The server's version, as it counts for a restore."""
        return int(self.postgres.partition(".")[0])

    def sealed(self, key: Key) -> Manifest:
        """The same with its seal."""
        return Manifest(**{**asdict(self), "seal": key.seal(self._text())})

    def as_json(self) -> str:
        """As it is written."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def check_seal(self, key: Key) -> None:
        """Raise BackupProblem when it was made with another key, or changed since."""
        if self.key_id != key.id:
            raise BackupProblem(
                f"{self.name} was made with another key (its mark is {self.key_id}; yours is {key.id}): "
                "set NARU_BACKUP_KEY_FILE to that key's file."
            )
        if self.seal != key.seal(self._text()):
            raise BackupProblem(f"the manifest of {self.name} was changed after it was written: use another backup.")

    def _text(self) -> bytes:
        values = {name: value for name, value in asdict(self).items() if name != "seal"}
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def parse(text: str, *, where: str) -> Manifest:
    """A manifest as it is written. Raises BackupProblem when this is none."""
    try:
        values: dict[str, Any] = json.loads(text)
        found = Manifest(**values)
        datetime.fromisoformat(found.began_at)
    except (ValueError, TypeError):
        raise BackupProblem(f"{where} is no manifest of a backup: use another backup.") from None
    whole = all(isinstance(getattr(found, each.name), KINDS[str(each.type)]) for each in fields(Manifest))
    if found.form != FORM or not whole or not NAME.fullmatch(found.name):
        raise BackupProblem(f"{where} is the manifest of another version of Naru: restore it with that one.")
    return found


def read(path: Path) -> Manifest:
    """The manifest in a file."""
    try:
        return parse(path.read_text(encoding="utf-8"), where=path.name)
    except UnicodeDecodeError:
        raise BackupProblem(f"{path.name} is no manifest of a backup: use another backup.") from None
    except OSError as error:
        raise of_disk(error, where=path) from None


def check_file(manifest: Manifest, path: Path) -> None:
    """Raise BackupProblem when the encrypted file is not the one that the manifest was written for."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
    except FileNotFoundError:
        raise BackupProblem(f"{path.name} is missing beside its manifest: use another backup.") from None
    except OSError as error:
        raise of_disk(error, where=path) from None
    if size != manifest.size:
        raise BackupProblem(f"{path.name} has {size} bytes of {manifest.size}: it was cut. Use another backup.")
    if digest.hexdigest() != manifest.sha256:
        raise BackupProblem(f"{path.name} was changed after it was written: use another backup.")
