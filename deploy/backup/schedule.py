"""Runs a command at a time of the day or the week, for a container without cron. Times are UTC.

A failed run is retried after an hour. A missed one (the machine was off) is made up for at the start. Failures show
in the metrics; nothing here sends an alert.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
AGAIN_SECONDS = 3600.0
LONGEST_SLEEP_SECONDS = 60.0  # somebody may set the clock meanwhile
_FORM = re.compile(rf"(?:({'|'.join(DAYS)}) )?([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Moment:
    """A daily time, or a weekly one on `day` (0 is Monday)."""

    day: int | None
    hour: int
    minute: int

    @property
    def period(self) -> timedelta:
        """The time between two runs."""
        return timedelta(days=1 if self.day is None else 7)

    def after(self, now: datetime) -> datetime:
        """Return the first moment after `now`."""
        found = now.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        if self.day is not None:
            found += timedelta(days=(self.day - found.weekday()) % 7)
        return found if found > now else found + self.period

    def before(self, now: datetime) -> datetime:
        """Return the start of the current period: the last moment up to `now`."""
        return self.after(now) - self.period


def moment_of(text: str) -> Moment:
    """Parse `03:15` or `sun 04:30`. Raises ValueError."""
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(text)
    return Moment(DAYS.index(found[1]) if found[1] else None, int(found[2]), int(found[3]))


def first_run(moment: Moment, now: datetime, last_success: float, *, pause_seconds: float = 0.0) -> datetime:
    """Return the next moment, or `now` plus the pause if a run was missed."""
    missed = now.timestamp() - last_success > moment.period.total_seconds()
    return now + timedelta(seconds=pause_seconds) if missed else moment.after(now)


def run_at(moment: Moment, run: Callable[[], int], *, due: datetime, say: Callable[[str], None]) -> None:
    """Run at `due` and then at each moment, for as long as the process lives."""
    while True:
        say(f"next run at {due:%Y-%m-%d %H:%M} UTC")
        _sleep_until(due)
        code = run()
        now = datetime.now(UTC)
        due = moment.after(now)
        if code != 0:
            due = min(due, now + timedelta(seconds=AGAIN_SECONDS))


def _sleep_until(due: datetime) -> None:
    while (left := (due - datetime.now(UTC)).total_seconds()) > 0:
        time.sleep(min(left, LONGEST_SLEEP_SECONDS))
