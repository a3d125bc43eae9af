"""The findings of `./naru doctor`, and how they are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from deploy import terminal


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
