"""What `./naru doctor` finds, and how it is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from deploy import terminal


class Level(StrEnum):
    """How a finding is marked."""

    GOOD = "ok"
    HINT = "! "
    WRONG = "NO"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line, and what to do."""

    level: Level
    what: str
    to_do: str = ""


Findings = Iterator[Finding]


def show(finding: Finding) -> None:
    """One line, and what to do below it."""
    print(f"{finding.level.value}  {terminal.line(finding.what)}")
    if finding.to_do:
        print(f"      → {terminal.line(finding.to_do)}")
    sys.stdout.flush()
