"""What is kept for how long. `shared/keeping.py` has the rules that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting

#: A century: more is a slip of the keyboard.
MOST_DAYS = 36_500
#: The database keeps every event for this long, whatever a process asks for (migration 0008).
LEAST_AUDIT_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """How long conversations are kept, and how often the purge looks for what should be gone."""

    keep_deleted_days: int = setting(
        30, "Days that a deleted conversation stays in the database; 0: it leaves at once", least=0, most=MOST_DAYS
    )
    keep_conversations_days: int = setting(
        0, "Days that a conversation is kept after its last message; 0: for ever", least=0, most=MOST_DAYS
    )
    keep_spending_days: int = setting(
        400,
        "Days that sums of tokens and money are kept, by the hour; the limits of a month need 31",
        least=31,
        most=MOST_DAYS,
    )
    keep_audit_days: int = setting(
        365, "Days that the record of events is kept", least=LEAST_AUDIT_DAYS, most=MOST_DAYS
    )
    audit_log: str = setting(
        "off", "Where web also sends the record of events: `off`, `stdout`, `syslog:HOST:PORT` or `syslog:/PATH`"
    )
    purge_seconds: float = setting(60.0, "How often a web process looks for rows that should be gone", least=0.1)
