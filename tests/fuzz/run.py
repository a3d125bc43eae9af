"""Draws hostile texts until the time is over, and says what was found. Not here: the command line (__main__.py)."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fuzz.grammar import text_of
from tests.fuzz.oracle import findings
from tests.fuzz.rig import Sheet

BATCH = 100


@dataclass(slots=True)
class Report:
    """How many texts were drawn, and a sentence for each that did something."""

    texts: int = 0
    findings: list[str] = field(default_factory=list)


def fuzz(
    sheet: Sheet,
    *,
    seed: int,
    seconds: float,
    texts: float = math.inf,
    note: Callable[[Report], None] = lambda _: None,
    most: int = 20,
) -> Report:
    """Draw the texts of `seed` for `seconds`, at least one batch; ends early after `texts` of them, or when `most` have
    done something."""
    report = Report()
    limit = time.monotonic() + seconds
    for batch in itertools.count():
        for shown in sheet.draw([text_of(seed, number) for number in range(batch * BATCH, (batch + 1) * BATCH)]):
            if sentences := list(findings(shown)):
                report.findings.append("\n".join([json.dumps(shown.source), *sentences]))
        if done := sheet.done():
            report.findings.append(f"one of batch {batch} of seed {seed}: {sorted(set(done))}")
            sheet.foreign.clear()
        report.texts += BATCH
        note(report)
        if time.monotonic() > limit or report.texts >= texts or len(report.findings) >= most:
            return report
    raise AssertionError("not reached")
