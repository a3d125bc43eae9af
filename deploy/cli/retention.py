"""The check of `./naru doctor` on what is kept: for how long, and whether the purge is behind."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from deploy.cli.findings import Finding, Findings, Level
from shared.errors import NaruError
from shared.keeping import Keeping, overdue_seconds
from shared.postgres.database import make_engine, transaction
from shared.settings import Settings

DAY_SECONDS = 86_400
#: A web process looks every minute, and a backlog takes hours. The alert PurgeBehind has the same limit.
BEHIND_SECONDS = DAY_SECONDS


def kept(settings: Settings) -> Findings:
    """Say what is kept for how long, and whether rows are still there that should have been gone a day ago."""
    keeping = Keeping.of(settings)
    engine = make_engine(settings, name="naru-doctor", pool=2)
    try:
        with transaction(engine) as connection:
            overdue = overdue_seconds(connection, keeping)
    except (NaruError, SQLAlchemyError):
        return  # the checks of Postgres and of the tables have reported it
    finally:
        engine.dispose()
    behind = {kind: seconds for kind, seconds in overdue.items() if seconds > BEHIND_SECONDS}
    for kind, seconds in behind.items():
        to_do = "is a web process running? Its log says why the purge fails: docs/operations/alerts.md#purgebehind"
        yield Finding(Level.WRONG, f"kept: {kind} that should be gone since {_days(seconds)}", to_do)
    if not behind:
        yield Finding(Level.GOOD, f"kept: {in_words(keeping)}")


def in_words(keeping: Keeping) -> str:
    """Say for how long each kind is kept."""
    limit = f"at most {keeping.conversation_days} days" if keeping.conversation_days else "no age limit"
    deleted = f"{keeping.deleted_days} days" if keeping.deleted_days else "not at all"
    others = f"idempotency keys: {keeping.key_days} days; workers that left: {keeping.worker_days} day"
    others += f"; sessions: {keeping.session_idle_days} days without a visit, {keeping.session_days} in all"
    return f"conversations: {limit}; deleted ones: {deleted}; {others}"


def _days(seconds: float) -> str:
    days = int(seconds // DAY_SECONDS)
    return "a day" if days == 1 else f"{days} days"
