"""Sums of what was used, for the pages and for `naru usage`: by day and model, and by person, group and model."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Date, DateTime, Text, bindparam, cast, func, select, text

from shared.people import Owner
from shared.spending.currency import Currency
from shared.tables import membership, person, person_group, spending

_S = spending.c
#: The rows of a month that one page shows.
MOST_ROWS = 1000
#: Rows that a report reads at once.
ROWS_AT_ONCE = 1000
#: A cell that begins with one of these is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What was used: of one day and model, or of one owner and model in a month. `cost` is in NARU_CURRENCY."""

    day: date | None = None
    owner: str = ""
    #: The e-mail address of a person; empty for a guest.
    email: str = ""
    groups: str = ""
    model: str
    answers: int
    input_tokens: int
    output_tokens: int
    cost: Decimal
    #: How many of the attempts have no known price, and how many were estimated.
    unpriced: int
    estimated: int

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.input_tokens + self.output_tokens


def months_ago(connection: Connection, zone: str, number: int = 0) -> str:
    """Return a month in the zone as YYYY-MM: this one, or `number` months ago."""
    here = func.timezone(zone, func.statement_timestamp()) - func.make_interval(0, number)
    return str(connection.execute(select(func.to_char(here, "YYYY-MM"))).scalar_one())


def by_day(connection: Connection, owner: Owner, *, zone: str, currency: Currency, days: int) -> list[Use]:
    """Return what the owner used in the last `days` days, by day and model, newest day first."""
    day = cast(func.timezone(zone, _S.hour), Date)
    since = func.timezone(zone, func.statement_timestamp()) - func.make_interval(0, 0, 0, days)
    rows = connection.execute(
        select(day.label("day"), _S.model, *_sums(currency))
        .where(_S.owner_id == owner.key, func.timezone(zone, _S.hour) > since)
        .group_by(day, _S.model)
        .order_by(day.desc(), _S.model)
        .limit(MOST_ROWS)
    )
    return [Use(**row) for row in rows.mappings()]


def of_month(connection: Connection, month: str, *, zone: str, currency: Currency) -> Iterator[Use]:
    """Yield what everybody used in a month (YYYY-MM), by owner and model; the dearest owner first.

    Reads ROWS_AT_ONCE rows at once, so the number of people does not matter.
    """
    first = cast(f"{month}-01", DateTime)
    begin, end = func.timezone(zone, first), func.timezone(zone, first + text("interval '1 month'"))
    used = (
        select(_S.owner_id, _S.model, *_sums(currency))
        .where(_S.hour >= begin, _S.hour < end)
        .group_by(_S.owner_id, _S.model)
        .subquery()
    )
    of_owner = func.sum(used.c.cost).over(partition_by=used.c.owner_id)
    names = (
        select(func.string_agg(person_group.c.name, text("', ' ORDER BY person_group.name")))
        .select_from(membership.join(person_group))
        .where(membership.c.person_id == person.c.id)
        .scalar_subquery()
    )
    who = used.outerjoin(person, used.c.owner_id == func.concat("person:", cast(person.c.id, Text)))
    rows = connection.execution_options(stream_results=True, max_row_buffer=ROWS_AT_ONCE).execute(
        select(used, func.coalesce(person.c.email, "").label("email"), func.coalesce(names, "").label("groups"))
        .select_from(who)
        .order_by(of_owner.desc(), used.c.owner_id, used.c.cost.desc(), used.c.model)
    )
    for row in rows.mappings():
        values = dict(row)
        yield Use(owner=values.pop("owner_id"), **values)


def as_csv(month: str, uses: Iterator[Use], currency: Currency) -> Iterator[str]:
    """Yield the lines of a CSV file for spreadsheets, which take the mark at its beginning for UTF-8."""
    heads = ("month", "owner", "email", "groups", "model", "answers", "input_tokens", "output_tokens")
    yield "\ufeff" + _line([*heads, f"cost_{currency.code.lower()}", "answers_without_price", "answers_estimated"])
    for use in uses:
        numbers = (use.answers, use.input_tokens, use.output_tokens, f"{use.cost:.6f}", use.unpriced, use.estimated)
        yield _line([month, *(_plain(each) for each in (use.owner, use.email, use.groups, use.model)), *numbers])


def _sums(currency: Currency) -> Sequence[ColumnElement[Any]]:
    return (
        func.sum(_S.attempts).label("answers"),
        func.sum(_S.input_tokens).label("input_tokens"),
        func.sum(_S.output_tokens).label("output_tokens"),
        (func.sum(_S.cost) * bindparam("per_dollar", currency.per_dollar, unique=True)).label("cost"),
        func.sum(_S.unpriced).label("unpriced"),
        func.sum(_S.estimated).label("estimated"),
    )


def _line(cells: Sequence[object]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow(cells)
    return written.getvalue()


def _plain(cell: str) -> str:
    """Return the cell so that no spreadsheet runs it."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
