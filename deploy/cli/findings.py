"""The findings of `./naru doctor`, and how they are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from deploy import terminal

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Level(StrEnum):
    """The mark in front of a finding."""

    GOOD = "ok"
    HINT = "! "
    WRONG = "NO"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line, and the advice below it."""

    level: Level
    what: str
    to_do: str = ""


Findings = Iterator[Finding]


def show(finding: Finding) -> None:
    """Print the line, and the advice below it."""
    print(f"{finding.level.value}  {terminal.line(finding.what)}")
    if finding.to_do:
        print(f"      → {terminal.line(finding.to_do)}")
    sys.stdout.flush()


def privacy(what: str, names: set[str], *, has_password: bool, secure: bool) -> Findings:
    """Check that a server on another machine has a password and encryption. `names` are its hosts."""
    if names <= LOOPBACK:
        return
    if not has_password:
        yield Finding(Level.HINT, f"{what}: used without a password", "set one on the server, and add it to the URL")
    if not secure:
        yield Finding(Level.HINT, f"{what}: used without TLS", "use sslmode=verify-full, or rediss:// for Redis")
