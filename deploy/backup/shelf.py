"""The folder of the backups: list, lock, write and prune them.

A backup exists if its manifest does, and is good if its file has the size in the manifest. A restore also checks the
hash. Files that are being written end in `.partial`; the next backup removes those of a killed one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from deploy.backup import manifest as manifests
from deploy.backup.manifest import Manifest
from deploy.backup.problem import BackupProblem, of_disk
from deploy.backup.retention import Keep, kept
from shared.settings import Settings

PARTIAL = ".partial"
NEWEST = "newest"


class Shelf:
    """One folder of backups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Create the folder, readable by its owner only, if it does not exist."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise of_disk(error, where=self.folder) from None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder for the length of the block. Raises BackupProblem if another backup holds it."""
        with self._locked(".lock", f"another backup is in progress in {self.folder}. Wait for it."):
            for left in self.folder.glob(f"*{PARTIAL}"):
                left.unlink(missing_ok=True)
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Create a folder for one drill on the disk of the backups. Removes the remains of a killed drill."""
        with self._locked(".drill-lock", f"another drill is in progress in {self.folder}. Wait for it."):
            made = self.folder / ".drill"
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(mode=0o700)
            try:
                yield made
            finally:
                shutil.rmtree(made, ignore_errors=True)

    @contextmanager
    def _locked(self, name: str, otherwise: str) -> Iterator[None]:
        try:
            lock = (self.folder / name).open("a")
        except OSError as error:
            raise of_disk(error, where=self.folder) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupProblem(otherwise) from None
            yield

    def partial(self, name: str) -> Path:
        """Return the path for a file that is being written."""
        return self.folder / f"{name}{PARTIAL}"

    def path(self, found: Manifest) -> Path:
        """Return the path of a backup's encrypted file."""
        return self.folder / found.file

    def keep(self, partial: Path) -> Path:
        """Give a complete file its final name, and sync it so that it survives a power cut."""
        path = partial.with_name(partial.name.removesuffix(PARTIAL))
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return path

    def write_manifest(self, made: Manifest) -> None:
        """Write the manifest, which completes the backup."""
        partial = self.partial(made.name + manifests.SUFFIX)
        partial.touch(mode=0o600)
        partial.write_text(made.as_json(), encoding="utf-8")
        self.keep(partial)

    def all(self) -> list[Manifest]:
        """Return the good backups, newest first."""
        found = [manifests.read(path) for path in self.folder.glob(f"naru-*{manifests.SUFFIX}") if _is_manifest(path)]
        return sorted((each for each in found if self._is_good(each)), key=lambda each: each.name, reverse=True)

    def damaged(self) -> list[str]:
        """Return the names of backups with an unreadable manifest or a damaged file. They are never pruned."""
        good = {each.name for each in self.all()}
        return sorted({path.stem for path in self.folder.glob(f"naru-*{manifests.SUFFIX}")} - good)

    def has_unfinished(self) -> bool:
        """Whether a backup is being written here, or a killed one has left its file until the next backup."""
        return any(self.folder.glob(f"naru-*{PARTIAL}"))

    def find(self, name: str) -> Manifest | None:
        """Find a good backup by its name, or the newest; None if it is not here."""
        return next((each for each in self.all() if name in {NEWEST, each.name, each.file}), None)

    def newest_age_seconds(self) -> float | None:
        """Return the age of the newest good backup's data; None if there is none."""
        newest = self.find(NEWEST)
        return None if newest is None else (datetime.now(UTC) - newest.moment).total_seconds()

    def prune(self, keep: Keep) -> list[str]:
        """Delete the backups that `keep` does not cover; return their names. Call it only after a success."""
        good = self.all()
        staying = kept([each.moment for each in good], keep)
        gone = [each for each in good if each.moment not in staying]
        for each in gone:
            # The manifest first: a manifest without its file would look like a damaged backup.
            (self.folder / f"{each.name}{manifests.SUFFIX}").unlink(missing_ok=True)
            self.path(each).unlink(missing_ok=True)
        return [each.name for each in gone]

    def _is_good(self, found: Manifest) -> bool:
        try:
            return self.path(found).stat().st_size == found.size
        except OSError:
            return False


def _is_manifest(path: Path) -> bool:
    try:
        return manifests.read(path).name == path.stem
    except BackupProblem:
        return False


def shelf_of(settings: Settings, data: Path) -> Shelf:
    """Return the folder in the settings, or the one in the data folder."""
    return Shelf((Path(settings.backup_dir) if settings.backup_dir else data / "backups").absolute())
