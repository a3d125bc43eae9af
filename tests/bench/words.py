"""Questions for the simulator, and a parser for its clocked answers: `w0@<ns> w1@<ns> …`, each token's send time."""

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
    """Return the token numbers in `text`, in order."""
    return [int(number) for number, _ in _WORD.findall(text)]


@dataclass(slots=True)
class Wholeness:
    """Counts lost text in answers; add each answer with `check`."""

    #: Missing or doubled tokens of stored answers, and live texts that are no prefix of the answer.
    lost: int = 0
    #: Answers whose live text was incomplete when the page received the end.
    cut_at_end: int = 0

    def check(self, live: str, stored: list[str], *, tokens: int) -> None:
        """Check an answer of `tokens` tokens: its live text and its rows."""
        whole = stored[0] if stored else ""
        found = numbers(whole)
        wrong = abs(len(stored) - 1) + bool(_WORD.sub("", whole)) + (not whole.startswith(live))
        self.lost += wrong + len(set(range(tokens)) ^ set(found)) + (found != sorted(set(found)))
        self.cut_at_end += live != whole

    def numbers(self) -> Numbers:
        """Return the counts as named numbers."""
        return {"lost": float(self.lost), "cut_at_end": float(self.cut_at_end)}
