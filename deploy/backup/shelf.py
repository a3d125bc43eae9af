"""The folder of the backups: what is in it, who may write to it now, what is thrown away.

A backup is there when its manifest is, and is good when its file has the size that the manifest names; the hash is
looked at before a restore. What is being written ends in `.partial`; the next backup removes what a killed one
left.
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
        """The folder, readable by its owner only, when it is not there yet."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise of_disk(error, where=self.folder) from None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes here meanwhile. Raises BackupProblem when somebody does."""
        with self._locked(".lock", f"another backup is being made in {self.folder}: wait for it."):
            for left in self.folder.glob(f"*{PARTIAL}"):
                left.unlink(missing_ok=True)
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for one drill, on the disk that has room for backups; what a killed drill left is removed."""
        with self._locked(".drill-lock", f"another drill is under way in {self.folder}: wait for it."):
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
        """Where a file is written before it is whole."""
        return self.folder / f"{name}{PARTIAL}"

    def path(self, found: Manifest) -> Path:
        """The encrypted file of a backup."""
        return self.folder / found.file

    def keep(self, partial: Path) -> Path:
        """Give a whole file its name, so that it is there after a power cut too."""
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
        """From then on the backup is there."""
        partial = self.partial(made.name + manifests.SUFFIX)
        partial.touch(mode=0o600)
        partial.write_text(made.as_json(), encoding="utf-8")
        self.keep(partial)

    def all(self) -> list[Manifest]:
        """The good backups, newest first."""
        found = [manifests.read(path) for path in self.folder.glob(f"naru-*{manifests.SUFFIX}") if _is_manifest(path)]
        return sorted((each for each in found if self._is_good(each)), key=lambda each: each.name, reverse=True)

    def damaged(self) -> list[str]:
        """Names of manifests that cannot be read or whose file is cut or gone. They are never thrown away by us."""
        good = {each.name for each in self.all()}
        return sorted({path.stem for path in self.folder.glob(f"naru-*{manifests.SUFFIX}")} - good)

    def find(self, name: str) -> Manifest | None:
        """A good backup by its name (or the newest); None when it is not here."""
        return next((each for each in self.all() if name in {NEWEST, each.name, each.file}), None)

    def newest_age_seconds(self) -> float | None:
        """How old the data of the newest good backup is; None when there is none."""
        newest = self.find(NEWEST)
        return None if newest is None else (datetime.now(UTC) - newest.moment).total_seconds()

    def prune(self, keep: Keep) -> list[str]:
        """Throw away what the rule does not keep; call it after a success only. Their names."""
        good = self.all()
        staying = kept([each.moment for each in good], keep)
        gone = [each for each in good if each.moment not in staying]
        for each in gone:
            # The manifest first: a file without one is no backup, a manifest without its file looks like one.
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
    """The shelf that the settings name, or the one in the data folder."""
    return Shelf((Path(settings.backup_dir) if settings.backup_dir else data / "backups").absolute())
