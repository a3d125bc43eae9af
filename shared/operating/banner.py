"""The banner: a sentence in up to two languages that everybody sees at the top of the page."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import audit
from shared.audit import Kind
from shared.lifecycle import storable
from shared.postgres.database import statement, transaction
from shared.tables import banner

LONGEST_BANNER = 300
_B = banner.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """The text by language, "" where there is none; `version` tells one banner from the next."""

    version: UUID
    en: str
    ko: str

    def text(self, locale: str) -> str:
        """Return the text in this language, or else in the other one."""
        return (self.ko or self.en) if locale == "ko" else (self.en or self.ko)


def read_banner(engine: Engine) -> Banner | None:
    """Return the banner, if there is one. Raises Unavailable."""
    with statement(engine) as connection:
        row = connection.execute(select(_B.version, _B.en, _B.ko)).one_or_none()
    return row and Banner(version=row.version, en=row.en, ko=row.ko)


def set_banner(engine: Engine, *, en: str = "", ko: str = "") -> Banner | None:
    """Show this to everybody, in place of an earlier banner. Raises Unavailable.

    Returns None, and changes nothing, if a text is longer than LONGEST_BANNER or both are empty.
    """
    made = Banner(version=uuid4(), en=_one_line(en), ko=_one_line(ko))
    if (not made.en and not made.ko) or max(len(made.en), len(made.ko)) > LONGEST_BANNER:
        return None
    values = {"version": made.version, "en": made.en, "ko": made.ko, "set_at": func.clock_timestamp()}
    put = upsert(banner).values(id=1, **values)
    with transaction(engine) as connection:
        connection.execute(put.on_conflict_do_update(index_elements=[_B.id], set_=values))
        audit.record(connection, Kind.BANNER_CHANGED)
    return made


def clear_banner(engine: Engine) -> bool:
    """Show no banner any more; False if there was none. Raises Unavailable."""
    with transaction(engine) as connection:
        was_shown = bool(connection.execute(delete(banner)).rowcount)
        if was_shown:
            audit.record(connection, Kind.BANNER_CHANGED)
        return was_shown


def _one_line(given: str) -> str:
    return " ".join(storable(given).split())
