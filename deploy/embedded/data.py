"""The data folder of `./naru up`: its lock, its generated secrets, and the addresses of its running Naru.

lock            held by the running `up`
running.json    its addresses, while it is ready
secrets.json    generated once, mode 0600
pids/           the child processes, with their start times
postgres/ redis/ flower/
logs/
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

NEEDED_MEGABYTES = 300
SECRETS = "secrets.json"
#: The files and folders that `up` and `backup` make in a data folder. Files that are being written end in `.new`.
OURS = frozenset({"lock", "running.json", SECRETS, "pids", "postgres", "redis", "flower", "logs", "backups"})
#: Permission bits of everyone but the owner.
OPEN = stat.S_IRWXG | stat.S_IRWXO


class DataProblem(Exception):
    """The data folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The generated secrets of one data folder. They contain letters, digits, - and _ only."""

    postgres_password: str
    redis_password: str
    flower_password: str
    secret_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A running Naru: the lines that a second `up` prints, and the addresses that `ask` and `doctor` use."""

    url: str
    lines: list[str]
    environ: dict[str, str]


class DataFolder:
    """One data folder. Creates it and its subfolders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.pids = path / "pids"
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.logs.mkdir(exist_ok=True, mode=0o700)
            (path / "flower").mkdir(exist_ok=True, mode=0o700)
            self._lock_file = (path / "lock").open("a")
        except OSError as error:
            raise DataProblem(
                f"cannot write to {path} ({error.strerror}). Choose another folder with --data DIR."
            ) from None
        free = shutil.disk_usage(path).free // 2**20
        if free < NEEDED_MEGABYTES:
            raise DataProblem(
                f"{path} has only {free} MB free. Free some space, or choose another folder with --data DIR."
            )

    def lock(self) -> bool:
        """Lock the folder for as long as this process lives; return False if another process holds it."""
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Release the lock."""
        self._lock_file.close()

    def close_to_others(self) -> list[str]:
        """Remove the permissions of other users on this folder and its contents; return lines to print.

        A folder with other contents, or of another user, may be a home or a shared one, so nothing in it is changed.
        Links are not followed.
        """
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if (reason := self._stays_open_because()) is not None:
            to_do = "Choose a separate folder for Naru with --data DIR."
            return (
                [f"{self.path} stays open to other users (mode {mode:04o}), because {reason}. {to_do}"]
                if mode & OPEN
                else []
            )
        closed = sum(_close(path) for each in self.path.iterdir() for path in _all_below(each))
        said = [f"Closed to other users: {closed} files and folders in {self.path}."] if closed else []
        if mode & OPEN & ~self._closed_mode():
            self.path.chmod(self._closed_mode())
            said.append(f"Closed to other users: {self.path}, which had mode {mode:04o}.")
        return said

    def _stays_open_because(self) -> str | None:
        others = sorted(each.name for each in self.path.iterdir() if each.name.removesuffix(".new") not in OURS)
        if others:
            return f"it contains other files, such as {others[0]}"
        if self.path.resolve() in {Path("/"), Path.home()}:
            return "it is a home directory"
        return "it belongs to another user" if self.path.stat().st_uid != os.geteuid() else None

    def _closed_mode(self) -> int:
        """Return the mode to set. PostgreSQL may run as another user, who must pass through (privileges.py)."""
        postgres = self.path / "postgres"
        is_anothers = postgres.exists() and postgres.stat().st_uid != os.geteuid()
        return 0o711 if is_anothers else 0o700

    def secrets(self) -> tuple[Secrets, bool]:
        """Return the folder's secrets, and whether they were generated just now."""
        if (kept := secrets_in(self.path)) is not None:
            return kept, False
        made = Secrets(**{name: secrets.token_urlsafe(24) for name in Secrets.__dataclass_fields__})
        write_privately(self.path / SECRETS, json.dumps(asdict(made), indent=1))
        return made, True

    def running(self) -> Running | None:
        """Return the Naru that runs here, if it is ready."""
        return running_on(self.path)

    def set_running(self, running: Running | None) -> None:
        """Write the addresses of the running Naru, or remove them."""
        if running is None:
            (self.path / "running.json").unlink(missing_ok=True)
        else:
            write_privately(self.path / "running.json", json.dumps(asdict(running)))


def _all_below(path: Path) -> Iterator[Path]:
    """Yield the path and everything below it, without following links."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            yield from (Path(folder, name) for name in (*folders, *files))


def _close(path: Path) -> bool:
    """Remove the permissions of other users; return whether there were any."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or not found.st_mode & OPEN:
            return False
        path.chmod(stat.S_IMODE(found.st_mode) & ~OPEN)
    except OSError:  # it is gone, or belongs to another user
        return False
    return True


def secrets_in(path: Path) -> Secrets | None:
    """Read the secrets of a data folder; None if it has none. Raises DataProblem if they are damaged."""
    file = path / SECRETS
    try:
        return Secrets(**json.loads(file.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataProblem(f"cannot read {file} ({error.strerror}). Run this as the user who runs ./naru up.") from None
    except (ValueError, TypeError):
        raise DataProblem(f"{file} is damaged. Restore it from a backup, or remove it.") from None


def change_secrets(path: Path, change: Callable[[Secrets], Secrets]) -> tuple[Secrets, Secrets]:
    """Replace the secrets atomically, one change at a time; return the old and the new ones.

    A running Naru keeps those that it read at its start. Raises DataProblem if there are none.
    """
    nothing = DataProblem(f"{path} holds no keys. ./naru up creates them; choose another folder with --data DIR.")
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise nothing from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        old = secrets_in(path)
        if old is None:
            raise nothing
        new = change(old)
        write_privately(path / SECRETS, json.dumps(asdict(new), indent=1))
        os.fsync(folder)
        return old, new
    except OSError as error:
        raise DataProblem(f"cannot write to {path} ({error.strerror}). The keys are unchanged.") from None
    finally:
        os.close(folder)


def running_on(path: Path) -> Running | None:
    """Return the Naru that runs on this data folder, if it is ready. Only reads: creates and locks nothing."""
    try:
        return Running(**json.loads((path / "running.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_privately(path: Path, text: str) -> None:
    """Replace a file atomically, readable by its owner only."""
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
