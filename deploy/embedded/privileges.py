"""The user that PostgreSQL runs as. PostgreSQL refuses root, which is a common user in containers.

The least invasive ways come first, and each is tried before it is chosen. Ordinary users do not need this. The user of
Naru's own process never changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
# Changing the user clears the parent-death signal (processes.py), so set it again.
DROP = """
import ctypes, os, sys
os.setgroups([]); os.setgid({0}); os.setuid({0})
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 2)
os.execv(sys.argv[1], sys.argv[1:])
"""


class NoOrdinaryUser(Exception):
    """Naru runs as root and cannot start PostgreSQL as another user; the message says what to do."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """A prefix for a command, and the user who must own its files."""

    prefix: tuple[str, ...]
    owner: int


def ordinary_user(program: Path, *, folder: Path) -> RunAs:
    """Find a way to run `program` as a user other than root who can write below `folder`."""
    if os.geteuid() != 0:
        return RunAs((), os.geteuid())
    for way in ways():
        if works(way, program=program, folder=folder):
            return way
    raise NoOrdinaryUser(
        "PostgreSQL refuses to run as root, and root cannot switch to another user here.\n"
        "      Run naru as an ordinary user (docker run --user 1000 …, with --data in one of its folders),\n"
        "      or set DATABASE_URL to a server of your own."
    )


def ways() -> list[RunAs]:
    """List the possible ways, the least invasive first."""
    found = []
    if unshare := shutil.which("unshare"):
        # A user namespace maps root to 1000, and files still belong to root. Containers often refuse it.
        found.append(RunAs((unshare, "--user", "--map-user=1000", "--map-group=1000"), 0))
    drop = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--pdeathsig", "INT")
    if setpriv := shutil.which("setpriv"):
        # The user nobody, with the capability to pass through folders of root (an environment in /root).
        walk = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        found.append(RunAs((setpriv, *drop, *walk), NOBODY))
    found.append(RunAs((sys.executable, "-I", "-c", DROP.format(NOBODY)), NOBODY))
    return found


def works(way: RunAs, *, program: Path, folder: Path) -> bool:
    """Try `way`: return whether the program starts and can write to the folder."""
    probe = folder / ".probe"
    probe.mkdir(exist_ok=True)
    os.chown(probe, way.owner, -1)
    script = 'test "$(id -u)" != 0 && touch "$1/x" && rm "$1/x" && "$0" --version'
    done = subprocess.run([*way.prefix, "/bin/sh", "-c", script, str(program), str(probe)], capture_output=True)
    shutil.rmtree(probe)
    return done.returncode == 0


def change_owner(folder: Path, *, owner: int) -> None:
    """Make `owner` own everything in `folder`, because a start may choose a different way from the last one."""
    if not folder.exists() or folder.stat().st_uid == owner:
        return
    for path in folder.rglob("*"):
        os.chown(path, owner, -1, follow_symlinks=False)
    os.chown(folder, owner, -1)  # last, so that an interrupted run starts over
