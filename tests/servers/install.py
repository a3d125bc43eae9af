"""Installs the pinned servers, each into a folder of its own, away from Naru's environment.

An installed server is used again while its pin stays the same.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.pins import Pin

INSTALL_SECONDS = 600.0
#: Written last, so that a half-made folder is made again.
STAMP = "installed.txt"


class Missing(Exception):
    """The server is unavailable here; the message says how to get it."""


def installed(folder: Path, pin: Pin, *, may_install: bool = True) -> Path:
    """Return the folder of the server's programs, and install it first if needed. Raises Missing."""
    if pin.is_node and not (shutil.which("node") and shutil.which("npm")):
        raise Missing("it needs Node.js 20 or newer: install node and npm, and run this again")
    home = folder / pin.requirement.replace("/", "+")
    programs = home / ("node_modules/.bin" if pin.is_node else "bin")
    if (home / STAMP).exists():
        return programs
    if not may_install:
        raise Missing(f"{pin.requirement} is not installed: run this again without --no-install")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for command in _commands(home, pin):
        _run(command, pin)
    (home / STAMP).write_text(pin.requirement)
    return programs


def _commands(home: Path, pin: Pin) -> list[list[str]]:
    if pin.is_node:
        # No script of a package runs.
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-save"]
        return [["npm", "install", "--prefix", str(home), *options, pin.requirement]]
    pip = [str(home / "bin/python"), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", pin.requirement]
    return [[sys.executable, "-m", "venv", str(home)], pip]


def _run(command: list[str], pin: Pin) -> None:
    registry = "npm's registry" if pin.is_node else "PyPI"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Missing(
            f"{pin.requirement} was not installed within {INSTALL_SECONDS:.0f} s: run this again on a faster line"
        ) from None
    if done.returncode != 0:
        raise Missing(
            f"{pin.requirement} could not be installed: run this where {registry} can be reached, "
            f"and correct tests/servers/pins.py if the version is gone"
        )
