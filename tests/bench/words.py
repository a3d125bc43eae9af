"""Questions for the simulator, and a parser of its clocked answers: `w0@<ns> w1@<ns> …`, the time of each sending."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count

from tests.bench.figure import Numbers

_WORD = re.compile(r"w(\d+)@(\d+) ")
_questions = count(1)


def clocked_question(*, tokens: int, pace: float = 50.0, first_seconds: float = 0.3) -> str:
    """Make a question whose answer has the simulator's clock in each token."""
    return f"[[sim: emit=clock tokens={tokens} pace={pace:g} first={first_seconds:g}]] question {next(_questions)}"


def clocks(text: str) -> list[int]:
    """Return when each token in `text` was sent, in ns."""
    return [int(clock) for _, clock in _WORD.findall(text)]


def numbers(text: str) -> list[int]:
    """Return the numbers of the tokens in `text`, in their order."""
    return [int(number) for number, _ in _WORD.findall(text)]


@dataclass(slots=True)
class Wholeness:
    """Counts answers that did not come whole; add each with `check`."""

    #: Tokens that a stored answer lacks or has twice, and live texts that do not begin the answer.
    lost: int = 0
    #: Answers whose live text lacked the last words when the page heard of the end.
    cut_at_end: int = 0

    def check(self, live: str, stored: list[str], *, tokens: int) -> None:
        """Check one answer of `tokens` tokens: the live text, and the rows."""
        whole = stored[0] if stored else ""
        found = numbers(whole)
        wrong = abs(len(stored) - 1) + bool(_WORD.sub("", whole)) + (not whole.startswith(live))
        self.lost += wrong + len(set(range(tokens)) ^ set(found)) + (found != sorted(set(found)))
        self.cut_at_end += live != whole

    def numbers(self) -> Numbers:
        """Return the counts as named numbers."""
        return {"lost": float(self.lost), "cut_at_end": float(self.cut_at_end)}
