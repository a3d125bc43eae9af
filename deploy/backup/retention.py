"""The retention rule: keep the newest backup of each of the last days, weeks and months that have one. Pure.

Only days with a backup count, not days of the calendar: after a month of failures the last good backups are still kept.
The newest is always kept, and so are those of the two days before it: a backup made by hand after an accident does not
replace the good one of that day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Backups this close to the newest one are always kept.
RECENT = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """The number of backups of each kind to keep."""

    daily: int
    weekly: int
    monthly: int


def kept(moments: Iterable[datetime], keep: Keep) -> set[datetime]:
    """Return the `moments` (of good backups) to keep."""
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
