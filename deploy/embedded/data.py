"""The data folder of `./naru up`: who holds it, its generated secrets, and where its running Naru is reached.

lock            held by the `up` that runs here
running.json    its addresses, while it is ready
secrets.json    generated once, 0600
pids/           the children, with their start times
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
#: What `up` and `backup` write into a data folder; a file that is being written has `.new` behind its name.
OURS = frozenset({"lock", "running.json", SECRETS, "pids", "postgres", "redis", "flower", "logs", "backups"})
#: Bits that let anyone but the owner in.
OPEN = stat.S_IRWXG | stat.S_IRWXO


class DataProblem(Exception):
    """The data folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What is generated for one data folder; letters, digits, - and _ only."""

    postgres_password: str
    redis_password: str
    flower_password: str
    secret_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a second `up` on the same folder prints, and what `ask` and `doctor` connect to."""

    url: str
    lines: list[str]
    environ: dict[str, str]


class DataFolder:
    """One data folder. Everything that is written below it is named here or by an embedded server."""

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
            raise DataProblem(f"{path} cannot be written ({error.strerror}): name another with --data DIR.") from None
        free = shutil.disk_usage(path).free // 2**20
        if free < NEEDED_MEGABYTES:
            raise DataProblem(f"{path} has only {free} MB free: make room, or name another with --data DIR.")

    def take(self) -> bool:
        """Hold the folder for as long as this process lives; False while another does."""
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Give the folder back."""
        self._lock_file.close()

    def close_to_others(self) -> list[str]:
        """Take everybody else's rights on this folder and on all below it; return what a person should know, in lines.

        A folder that holds other things too, or is not Naru's own, may be a home or a shared one: nothing in it is
        touched. What a link leads to is never touched.
        """
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if (reason := self._stays_open_because()) is not None:
            to_do = "Name a folder of Naru's own with --data DIR."
            return (
                [f"{self.path} is open to other users (mode {mode:04o}), for {reason}. {to_do}"] if mode & OPEN else []
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
            return f"it holds other things than Naru's, such as {others[0]}"
        if self.path.resolve() in {Path("/"), Path.home()}:
            return "it is a home"
        return "it is another user's" if self.path.stat().st_uid != os.geteuid() else None

    def _closed_mode(self) -> int:
        """PostgreSQL may have to run as another user, who then goes through here (privileges.py)."""
        postgres = self.path / "postgres"
        is_anothers = postgres.exists() and postgres.stat().st_uid != os.geteuid()
        return 0o711 if is_anothers else 0o700

    def secrets(self) -> tuple[Secrets, bool]:
        """The folder's secrets, and whether they are new."""
        if (kept := secrets_in(self.path)) is not None:
            return kept, False
        made = Secrets(**{name: secrets.token_urlsafe(24) for name in Secrets.__dataclass_fields__})
        write_privately(self.path / SECRETS, json.dumps(asdict(made), indent=1))
        return made, True

    def running(self) -> Running | None:
        """What runs here, when it is ready."""
        return running_on(self.path)

    def set_running(self, running: Running | None) -> None:
        """Say where the running Naru is reached, or that it no longer is."""
        if running is None:
            (self.path / "running.json").unlink(missing_ok=True)
        else:
            write_privately(self.path / "running.json", json.dumps(asdict(running)))


def _all_below(path: Path) -> Iterator[Path]:
    """The path itself and everything below it. No link is followed."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            yield from (Path(folder, name) for name in (*folders, *files))


def _close(path: Path) -> bool:
    """Whether it was open to others and is closed now."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or not found.st_mode & OPEN:
            return False
        path.chmod(stat.S_IMODE(found.st_mode) & ~OPEN)
    except OSError:  # it is gone, or another user's
        return False
    return True


def secrets_in(path: Path) -> Secrets | None:
    """The secrets of this data folder; None for one that has none yet. Raises DataProblem when they are damaged."""
    file = path / SECRETS
    try:
        return Secrets(**json.loads(file.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataProblem(f"{file} cannot be read ({error.strerror}): run this as the user of ./naru up.") from None
    except (ValueError, TypeError):
        raise DataProblem(f"{file} is damaged: put it back from a backup, or remove it.") from None


def change_secrets(path: Path, change: Callable[[Secrets], Secrets]) -> tuple[Secrets, Secrets]:
    """Replace the secrets whole, one change after another; returns the old ones and the new ones.

    Naru may run meanwhile: it has read them at its start. Raises DataProblem where there are none.
    """
    nothing = DataProblem(f"{path} holds no keys: ./naru up makes them. Name another folder with --data DIR.")
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
        raise DataProblem(f"{path} cannot be written ({error.strerror}): the keys are as they were.") from None
    finally:
        os.close(folder)


def running_on(path: Path) -> Running | None:
    """What runs on this data folder and is ready. Reads only: nothing is made or locked."""
    try:
        return Running(**json.loads((path / "running.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_privately(path: Path, text: str) -> None:
    """Write a whole file or none, readable by its owner only."""
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
