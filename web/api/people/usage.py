"""GET /usage: one's own use and limits. GET /usage/everyone and its CSV file: everybody's, for administrators."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO
from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shared.errors import Unavailable
from shared.people import Owner
from shared.people.accounts import Role
from shared.postgres.database import transaction
from shared.settings import Settings
from shared.spending import reports
from shared.spending.currency import Currency
from shared.spending.limits import Allowance, allowances_of
from shared.spending.reports import MOST_ROWS, Use
from shared.words import Words
from web.api.answers import Refusal
from web.api.people import pages, places
from web.api.people.forms import go_to, path_to, words_of
from web.asgi.identity import owner_in, signed_in_in
from web.runtime import current_runtime

DAYS = 30
#: The size from which a CSV file is written to disk before it is sent, and the size of its pieces.
MOST_IN_MEMORY = 4_000_000
PIECE_BYTES = 65_536
_MONTH = re.compile("20[0-9]{2}-(0[1-9]|1[0-2])")
_STYLE = """<style>
main { max-width: 720px; }
table { width: 100%; border-collapse: collapse; margin: 0 0 16px; font-size: 15px; }
caption { text-align: left; font-weight: 600; font-size: 18px; padding: 16px 0 4px; }
th, td { padding: 6px 8px 6px 0; border-bottom: 1px solid light-dark(#e2e6e5, #2c3331); text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th.number, td.number { text-align: right; white-space: nowrap; padding-right: 0; padding-left: 8px; }
svg { display: block; width: 100%; height: 8px; border-radius: 4px; background: light-dark(#e2e6e5, #2c3331); }
rect { fill: var(--accent); }
.full rect { fill: light-dark(#b3261e, #f2b8b5); }
select { height: 46px; padding: 0 12px; border-radius: 10px; font: inherit; background: light-dark(#ffffff, #1d2221);
  color: inherit; border: 1px solid light-dark(#8a9391, #6d7674); }
</style>
"""


@dataclass(slots=True)
class Sums:
    """Answers, tokens and cost by key, in the order of the keys' first lines, for one table."""

    by_key: dict[str, tuple[int, int, Decimal]] = field(default_factory=dict)
    unpriced: int = 0
    estimated: int = 0

    def add(self, key: str, use: Use) -> None:
        """Add one line."""
        if key in self.by_key or len(self.by_key) <= MOST_ROWS:  # one more tells that there are more
            answers, tokens, cost = self.by_key.get(key, (0, 0, Decimal(0)))
            self.by_key[key] = (answers + use.answers, tokens + use.tokens, cost + use.cost)
        self.unpriced += use.unpriced
        self.estimated += use.estimated


async def usage_page(request: Request) -> Response:
    """Show the limits of the owner, and their last DAYS days by day and model."""
    owner = owner_in(request.scope)
    if owner is None:
        return go_to(request, "/sign-in", back=places.USAGE)
    words, runtime = words_of(request), current_runtime()
    try:
        allowances, uses = await asyncio.to_thread(_read_own, runtime.engine, owner, runtime.settings)
    except Unavailable as error:
        return _page(request, "usage.title", pages.error(words.error(error.code)), status=503)
    currency = Currency.of(runtime.settings)
    signed_in = signed_in_in(request.scope)
    is_admin = signed_in is not None and signed_in.role == Role.ADMIN
    by_model = _summed(uses, lambda use: use.model)
    limits = "".join(_limits(words, each, runtime.settings) for each in allowances)
    everyone = pages.link(path_to(request, "/usage/everyone"), words.t("usage.everyone")) if is_admin else ""
    body = [
        pages.link(path_to(request, "/"), words.t("account.back")),
        everyone,
        pages.heading(words.t("usage.limits")),
        limits or pages.paragraph(words.t("usage.no_limits")),
        _days(words, uses, currency),
        _table(words, (words.t("usage.by_model"), words.t("usage.model")), by_model, currency),
        _notes(words, by_model),
    ]
    return _page(request, "usage.title", "".join(body))


async def everyones_usage_page(request: Request) -> Response:
    """Show what everybody used in one month: by model, group and person."""
    settings = _settings_of_an_admin(request)
    if settings is None:
        return go_to(request, "/sign-in", back=places.EVERYONE)
    words, engine = words_of(request), current_runtime().engine
    try:
        found = await asyncio.to_thread(_read_month, engine, request.query_params.get("month", ""), settings, words)
    except Unavailable as error:
        return _page(request, "usage.everyone", pages.error(words.error(error.code)), status=503)
    currency = Currency.of(settings)
    file = path_to(request, f"/usage/everyone.csv?month={found.month}")
    body = [
        pages.link(path_to(request, "/usage"), words.t("usage.title")),
        _month_form(request, words, found),
        "" if found.by_model.by_key else pages.paragraph(words.t("usage.nothing")),
        _table(words, (words.t("usage.by_model"), words.t("usage.model")), found.by_model, currency),
        _table(words, (words.t("usage.by_group"), words.t("usage.groups")), found.by_group, currency),
        _table(words, (words.t("usage.by_person"), words.t("usage.person")), found.by_person, currency),
        _notes(words, found.by_model),
        pages.link(file, words.t("usage.download"), is_quiet=False),
    ]
    return _page(request, "usage.everyone", "".join(body))


async def everyones_usage_file(request: Request) -> Response:
    """Send a month as a CSV file: one line for each person and model."""
    settings = _settings_of_an_admin(request)
    if settings is None:
        return go_to(request, "/sign-in", back=places.EVERYONE)
    month = request.query_params.get("month", "")
    if not _MONTH.fullmatch(month):
        raise Refusal(400, "bad_month", words_of(request).t("usage.bad_month"))
    try:
        file = await asyncio.to_thread(_written, current_runtime().engine, month, settings)
    except Unavailable:
        raise Refusal(503, "unavailable", words_of(request).error("unavailable")) from None
    name = f"naru-usage-{month}.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(_pieces(file), media_type="text/csv; charset=utf-8", headers=headers)


def _settings_of_an_admin(request: Request) -> Settings | None:
    """Return the settings for an administrator, None for nobody. Raises Refusal for other people."""
    signed_in = signed_in_in(request.scope)
    if signed_in is None:
        if owner_in(request.scope) is None:
            return None
        raise Refusal(403, "admins_only", words_of(request).t("usage.admins_only"))
    if signed_in.role != Role.ADMIN:
        raise Refusal(403, "admins_only", words_of(request).t("usage.admins_only"))
    return current_runtime().settings


def _read_own(engine: Engine, owner: Owner, settings: Settings) -> tuple[list[Allowance], list[Use]]:
    with transaction(engine) as connection:
        uses = reports.by_day(connection, owner, zone=settings.time_zone, currency=Currency.of(settings), days=DAYS)
        return allowances_of(connection, owner, settings), uses


@dataclass(slots=True)
class Month:
    """Everybody's use in a month; `months` are those to choose from."""

    month: str
    months: list[str]
    by_model: Sums = field(default_factory=Sums)
    by_group: Sums = field(default_factory=Sums)
    by_person: Sums = field(default_factory=Sums)


def _read_month(engine: Engine, asked: str, settings: Settings, words: Words) -> Month:
    """Read the month that was asked for, or else this one."""
    with transaction(engine) as connection:
        months = [reports.months_ago(connection, settings.time_zone, number) for number in range(12)]
        found = Month(asked if _MONTH.fullmatch(asked) else months[0], months)
        currency = Currency.of(settings)
        for use in reports.of_month(connection, found.month, zone=settings.time_zone, currency=currency):
            found.by_model.add(use.model, use)
            found.by_group.add(use.groups or words.t("usage.no_group"), use)
            found.by_person.add(use.email or use.owner, use)
    return found


def _written(engine: Engine, month: str, settings: Settings) -> IO[bytes]:
    """Return the CSV file, written before it is sent: a slow reader would keep the transaction open."""
    currency = Currency.of(settings)
    file = SpooledTemporaryFile(max_size=MOST_IN_MEMORY)  # noqa: SIM115 - closed when it is sent
    with transaction(engine) as connection:
        uses = reports.of_month(connection, month, zone=settings.time_zone, currency=currency)
        for line in reports.as_csv(month, uses, currency):
            file.write(line.encode())
    file.seek(0)
    return file


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _page(request: Request, title: str, body: str, *, status: int = 200) -> Response:
    words = words_of(request)
    return pages.page(words, words.t(title), _STYLE + body, request=request, status=status)


def _limits(words: Words, allowance: Allowance, settings: Settings) -> str:
    currency, zone = Currency.of(settings), ZoneInfo(settings.time_zone)
    lines = []
    for part in allowance.parts():
        used, most, _ = part.shown(currency)
        name = words.t(f"usage.{part.name}")
        if allowance.group:
            name = f"{name} ({words.t('usage.of_group', name=allowance.group)})"
        until = words.t("usage.again_at", until=f"{words.time(part.until.astimezone(zone))} ({zone.key})")
        of = words.t("usage.of", used=used, most=most)
        lines.append(
            f"<p>{escape(name)}: {escape(of)}<br>{_bar(part.share, is_full=part.share >= 1)}"
            f'<span class="hint">{escape(until)}</span></p>'
        )
    return "".join(lines)


def _bar(share: float, *, is_full: bool = False) -> str:
    """Draw a bar; the text beside it says the same."""
    full = ' class="full"' if is_full else ""
    return f'<svg aria-hidden="true"{full}><rect width="{min(share, 1.0):.1%}" height="8"></rect></svg>'


def _days(words: Words, uses: list[Use], currency: Currency) -> str:
    caption = words.t("usage.days", days=DAYS)
    if not uses:
        return pages.heading(caption) + pages.paragraph(words.t("usage.nothing"))
    return _table(words, (caption, words.t("usage.day")), _summed(uses, lambda use: str(use.day)), currency)


def _summed(uses: Iterable[Use], key: Callable[[Use], str]) -> Sums:
    sums = Sums()
    for use in uses:
        sums.add(key(use), use)
    return sums


def _table(words: Words, heads: tuple[str, str], sums: Sums, currency: Currency) -> str:
    """Draw a table with a bar for each key: its answers, tokens and cost. `heads`: the caption, and the keys' name."""
    caption, head = heads
    if not sums.by_key:
        return ""
    most = max(tokens for _, tokens, _ in sums.by_key.values()) or 1
    columns = "".join(
        f'<th scope="col" class="number">{escape(words.t(key))}</th>'
        for key in ("usage.answers", "usage.tokens", "usage.cost")
    )
    body = "".join(
        f'<tr><th scope="row">{escape(name)}{_bar(tokens / most)}</th><td class="number">{answers:,}</td>'
        f'<td class="number">{tokens:,}</td><td class="number">{escape(currency.shown(cost))}</td></tr>'
        for name, (answers, tokens, cost) in islice(sums.by_key.items(), MOST_ROWS)
    )
    more = pages.paragraph(words.t("usage.more", n=MOST_ROWS)) if len(sums.by_key) > MOST_ROWS else ""
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f'<thead><tr><th scope="col">{escape(head)}</th>{columns}</tr></thead><tbody>{body}</tbody></table>{more}'
    )


def _notes(words: Words, sums: Sums) -> str:
    """Say how many answers have no known price, and how many were estimated."""
    counts = {"usage.unpriced": sums.unpriced, "usage.estimated": sums.estimated}
    return "".join(f'<p class="hint">{escape(words.t(key, n=n))}</p>' for key, n in counts.items() if n)


def _month_form(request: Request, words: Words, shown: Month) -> str:
    options = "".join(
        f'<option value="{each}"{" selected" if each == shown.month else ""}>{each}</option>'
        for each in sorted({shown.month, *shown.months}, reverse=True)
    )
    return (
        f'<form method="get" action="{escape(path_to(request, "/usage/everyone"), quote=True)}">'
        f'<label for="month">{escape(words.t("usage.month"))}</label>'
        f'<select id="month" name="month">{options}</select> '
        f'<button type="submit">{escape(words.t("usage.show"))}</button></form>'
    )
