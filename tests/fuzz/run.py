"""Render hostile texts until the time is up and collect the findings. __main__.py has the command line."""

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
    """The number of rendered texts, and a finding for each text or batch with violations."""

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
    """Render the texts of `seed` for `seconds`, at least one batch. Stop after `texts` texts or `most` findings."""
    report = Report()
    limit = time.monotonic() + seconds
    for batch in itertools.count():
        for shown in sheet.draw([text_of(seed, number) for number in range(batch * BATCH, (batch + 1) * BATCH)]):
            if sentences := list(findings(shown)):
                report.findings.append("\n".join([json.dumps(shown.source), *sentences]))
        if done := sheet.done():
            report.findings.append(f"a text in batch {batch} of seed {seed}: {sorted(set(done))}")
            sheet.foreign.clear()
        report.texts += BATCH
        note(report)
        if time.monotonic() > limit or report.texts >= texts or len(report.findings) >= most:
            return report
    raise AssertionError("not reached")
