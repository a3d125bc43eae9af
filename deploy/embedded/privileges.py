"""Whom PostgreSQL runs as: it refuses root, and root is who one often is in a container.

Ways that leave everything where it is come first. Each is tried for real before it is chosen. Nothing here is
needed for an ordinary user, and nothing here changes who *we* are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
# Whoever changes user loses the kernel's promise to end it with us (processes.py): it is asked for again.
DROP = """
import ctypes, os, sys
os.setgroups([]); os.setgid({0}); os.setuid({0})
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 2)
os.execv(sys.argv[1], sys.argv[1:])
"""


class NoOrdinaryUser(Exception):
    """Root, and no way to be anybody else; the message says what to do."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """What to put before a command, and who must own its files."""

    prefix: tuple[str, ...]
    owner: int


def ordinary_user(program: Path, *, folder: Path) -> RunAs:
    """A way in which `program` runs as somebody else than root and can write below `folder`."""
    if os.geteuid() != 0:
        return RunAs((), os.geteuid())
    for way in ways():
        if works(way, program=program, folder=folder):
            return way
    raise NoOrdinaryUser(
        "PostgreSQL does not run as root, and this machine lets root be nobody else.\n"
        "      Run naru as an ordinary user (docker run --user 1000 …, with --data in a folder of theirs),\n"
        "      or set DATABASE_URL to a server of your own."
    )


def ways() -> list[RunAs]:
    """From the least invasive on."""
    found = []
    if unshare := shutil.which("unshare"):
        # A user namespace in which root is called 1000: the files stay root's. Containers often refuse it.
        found.append(RunAs((unshare, "--user", "--map-user=1000", "--map-group=1000"), 0))
    drop = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--pdeathsig", "INT")
    if setpriv := shutil.which("setpriv"):
        # Nobody, yet able to walk through folders that only root may enter (an environment in /root).
        walk = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        found.append(RunAs((setpriv, *drop, *walk), NOBODY))
    found.append(RunAs((sys.executable, "-I", "-c", DROP.format(NOBODY)), NOBODY))
    return found


def works(way: RunAs, *, program: Path, folder: Path) -> bool:
    """Try it: the program starts, and the folder can be written."""
    probe = folder / ".probe"
    probe.mkdir(exist_ok=True)
    os.chown(probe, way.owner, -1)
    script = 'test "$(id -u)" != 0 && touch "$1/x" && rm "$1/x" && "$0" --version'
    done = subprocess.run([*way.prefix, "/bin/sh", "-c", script, str(program), str(probe)], capture_output=True)
    shutil.rmtree(probe)
    return done.returncode == 0


def give(folder: Path, *, owner: int) -> None:
    """Make `owner` the owner of all in `folder` (a start may choose another way than the last)."""
    if not folder.exists() or folder.stat().st_uid == owner:
        return
    for path in folder.rglob("*"):
        os.chown(path, owner, -1, follow_symlinks=False)
    os.chown(folder, owner, -1)  # last: an interrupted run starts over
