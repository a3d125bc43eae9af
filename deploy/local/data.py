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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

NEEDED_MEGABYTES = 300
SECRETS = "secrets.json"


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
            self.logs.mkdir(exist_ok=True)
            (path / "flower").mkdir(exist_ok=True)
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
