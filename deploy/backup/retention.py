"""Which backups are kept: of the newest days, weeks and months that have one, the newest of each. Pure.

Counted are days that have a backup, not days of the calendar: when backups have failed for a month, the last good ones
are not eaten by the date. The newest is kept whatever the numbers say, and so is all that is hardly older: a backup
made by hand after an accident does not cost that day's good one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

#: So much before the newest, nothing is thrown away.
RECENT = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many of each."""

    daily: int
    weekly: int
    monthly: int


def kept(moments: Iterable[datetime], keep: Keep) -> set[datetime]:
    """Those of `moments` (of good backups) that stay."""
    newest_first = sorted(set(moments), reverse=True)
    rules: tuple[tuple[int, Callable[[datetime], object]], ...] = (
        (keep.daily, lambda moment: moment.date()),
        (keep.weekly, lambda moment: moment.isocalendar()[:2]),
        (keep.monthly, lambda moment: (moment.year, moment.month)),
    )
    staying = {moment for moment in newest_first if newest_first[0] - moment < RECENT}
    for number, period in rules:
        newest_of: dict[object, datetime] = {}
        for moment in newest_first:
            newest_of.setdefault(period(moment), moment)
        staying.update(list(newest_of.values())[:number])
    return staying
