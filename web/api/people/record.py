"""GET /audit and /audit/export: the record of events, for auditors and administrators. It has no words of any chat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html import escape
from urllib.parse import urlencode

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response

from shared.audit import Kind
from shared.audit.events import Event, Filter, everything, newest
from shared.audit.kinds import DETAILS
from shared.audit.record import printable
from shared.errors import BadEmail
from shared.people import Owner, accounts
from shared.people.accounts import Role
from shared.people.sessions import SignedIn
from shared.words import Words
from web.api.answers import Refusal
from web.api.export import Download, beginning, in_pieces
from web.api.guard import is_own_site
from web.api.people import pages, places
from web.api.people.forms import go_to, path_to, with_accounts, words_of
from web.asgi.identity import signed_in_in
from web.runtime import current_runtime

log = logging.getLogger(__name__)

PAGE_EVENTS = 50
LARGEST_NUMBER = 2**63 - 1
_STYLE = """<style>
main { max-width: 860px; }
form.filter { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-end; }
form.filter .entry { flex: 1 1 180px; margin: 0; }
select { width: 100%; box-sizing: border-box; padding: 0 12px; border: 1px solid light-dark(#8a9391, #6d7674);
  border-radius: 10px; background: light-dark(#ffffff, #1d2221); color: inherit; font: inherit; height: 46px; }
select:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
li.event { display: block; }
li.event span { display: block; font-size: 14px; color: light-dark(#5a6462, #a3adab); }
nav p { display: inline-block; margin: 0 16px 24px 0; }
</style>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The filter as the address has it, and what is wrong with it: the key of a sentence, or ""."""

    kind: str
    person: str
    day: str
    before: int | None
    chosen: Filter
    problem: str = ""

    def query(self, **more: object) -> str:
        """Return the query of an address with this filter."""
        values = {"kind": self.kind, "person": self.person, "day": self.day, **more}
        return urlencode({name: value for name, value in values.items() if value})


@with_accounts
async def record_page(request: Request) -> Response:
    """Show the newest events, or those before the number `before`."""
    signed_in = signed_in_in(request.scope)
    if signed_in is None:
        return go_to(request, "/sign-in", back=places.AUDIT)
    if not may_read_record(signed_in):
        return await _refused(request)
    engine = current_runtime().engine
    asked = await asyncio.to_thread(_asked_in, engine, request.query_params)
    events: list[Event] = []
    if not asked.problem:
        events = await asyncio.to_thread(newest, engine, asked.chosen, most=PAGE_EVENTS + 1, before=asked.before)
    keys = {key for event in events for key in (event.actor, event.subject)}
    emails = await asyncio.to_thread(accounts.emails_of, engine, keys)
    return _page(request, asked, events, emails)


@with_accounts
async def record_file(request: Request) -> Response:
    """Send the events of the filter as JSON lines, the oldest first. Raises Refusal."""
    signed_in = signed_in_in(request.scope)
    if signed_in is None:
        return go_to(request, "/sign-in", back=places.AUDIT)
    if not may_read_record(signed_in):
        return await _refused(request)
    if not is_own_site(request.headers):
        raise Refusal(403, "foreign_origin", "This can only be requested from Naru's own page.")
    runtime = current_runtime()
    asked = await asyncio.to_thread(_asked_in, runtime.engine, request.query_params)
    if asked.problem:
        return _page(request, asked, [], {})
    owner = signed_in.owner
    async with beginning(owner):
        await asyncio.to_thread(runtime.audit.repeats.record, Kind.RECORD_EXPORTED)
    name = f"naru-audit-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    parts = in_pieces(_lines(runtime.engine, asked.chosen))
    return Download(owner, parts, media_type="application/jsonl", name=name, done="record of events downloaded")


def may_read_record(signed_in: SignedIn) -> bool:
    """Whether this person's role is to see the record of events."""
    return signed_in.role in {Role.AUDITOR.value, Role.ADMIN.value}


async def _refused(request: Request) -> Response:
    """Record the refusal, and say who may read the record."""
    repeats = current_runtime().audit.repeats
    await asyncio.to_thread(repeats.record_if_possible, Kind.ROLE_REFUSED, path="/audit")
    words = words_of(request)
    body = pages.error(words.t("audit.refused")) + pages.link(path_to(request, "/"), words.t("account.back"))
    return pages.page(words, words.t("audit.title"), body, request=request, status=403)


def _lines(engine: Engine, chosen: Filter) -> Iterator[str]:
    for event in everything(engine, chosen):
        yield event.json_line() + "\n"


def _asked_in(engine: Engine, query: Mapping[str, str]) -> Asked:
    """Read the filter. A person is an e-mail address or the key of an owner."""
    kind, person, day, before = (printable(query.get(name, "")).strip() for name in ("kind", "person", "day", "before"))
    problem, key, since = "", person, None
    if kind and kind not in set(Kind):
        problem = "audit.bad_kind"
    if "@" in person:
        key = _key_of(engine, person)
        problem = problem or ("" if key else "audit.unknown_person")
    if day:
        since = _day_in(day)
        problem = problem or ("" if since else "audit.bad_day")
    if before and not (before.isascii() and before.isdecimal() and int(before[:20]) <= LARGEST_NUMBER):
        problem, before = problem or "audit.bad_number", ""
    until = None if since is None else since + timedelta(days=1)
    chosen = Filter(kind=kind, person=key, since=since, until=until)
    return Asked(
        kind=kind, person=person, day=day, before=int(before) if before else None, chosen=chosen, problem=problem
    )


def _key_of(engine: Engine, email: str) -> str:
    try:
        found = accounts.find(engine, accounts.normal_email(email))
    except BadEmail:
        return ""
    return "" if found is None else Owner.person(found.id).key


def _day_in(text: str) -> datetime | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if 2000 <= day.year <= 2999 else None


def _page(request: Request, asked: Asked, events: list[Event], emails: Mapping[str, str]) -> Response:
    words = words_of(request)
    shown = events[:PAGE_EVENTS]
    export = f"{path_to(request, '/audit/export')}?{asked.query()}"
    parts = [
        _STYLE,
        pages.error(words.t(asked.problem) if asked.problem else ""),
        _filter(request, words, asked),
        pages.link(export, words.t("audit.export")) if shown else "",
        '<ul aria-label="' + escape(words.t("audit.title"), quote=True) + '">' if shown else "",
        *(_line(words, event, emails) for event in shown),
        "</ul>" if shown else pages.paragraph(words.t("audit.none")),
        "<nav>",
        pages.link(f"{path_to(request, '/audit')}?{asked.query()}", words.t("audit.newest")) if asked.before else "",
        _older(request, words, asked, shown[-1].seq) if len(events) > PAGE_EVENTS else "",
        pages.link(path_to(request, "/account"), words.t("account.title")),
        pages.link(path_to(request, "/"), words.t("account.back")),
        "</nav>",
    ]
    status = 400 if asked.problem else 200
    return pages.page(words, words.t("audit.title"), "".join(parts), request=request, status=status)


def _older(request: Request, words: Words, asked: Asked, before: int) -> str:
    return pages.link(f"{path_to(request, '/audit')}?{asked.query(before=before)}", words.t("audit.older"))


def _filter(request: Request, words: Words, asked: Asked) -> str:
    kinds = "".join(
        f'<option value="{kind}"{" selected" if kind == asked.kind else ""}>{escape(name_of(words, kind))}</option>'
        for kind in Kind
    )
    every = f'<option value="">{escape(words.t("audit.every_kind"))}</option>'
    label = f'<label for="kind">{escape(words.t("audit.kind"))}</label>'
    boxes = (
        f'<div class="entry">{label}<select id="kind" name="kind">{every}{kinds}</select></div>',
        _box("person", "text", words.t("audit.person"), asked.person),
        _box("day", "date", words.t("audit.day"), asked.day),
    )
    action = escape(path_to(request, "/audit"), quote=True)
    button = f'<button type="submit">{escape(words.t("audit.show"))}</button>'
    return f'<form class="filter" method="get" action="{action}">{"".join(boxes)}{button}</form>'


def _box(name: str, kind: str, label: str, value: str) -> str:
    return (
        f'<div class="entry"><label for="{name}">{escape(label)}</label>'
        f'<input id="{name}" name="{name}" type="{kind}" maxlength="256" autocomplete="off"'
        f' value="{escape(value, quote=True)}"></div>'
    )


def _line(words: Words, event: Event, emails: Mapping[str, str]) -> str:
    """Return one event: what happened and when, then by whom and about whom, then its details."""
    by = emails.get(event.actor, event.actor) or words.t("audit.nobody")
    about = emails.get(event.subject, event.subject)
    who = [words.t("audit.by", who=by)]
    who += [words.t("audit.about", whom=about)] if about and event.subject != event.actor else []
    who += [event.address] if event.address else []
    details = " · ".join(f"{_detail(words, name)}: {_value(value)}" for name, value in event.details.items())
    when = f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    lines = [f"{event.seq} · {when}", " · ".join(who), details]
    spans = "".join(f"<span>{escape(line)}</span>" for line in lines if line)
    return f'<li class="event"><strong>{escape(name_of(words, event.kind))}</strong>{spans}</li>'


def _detail(words: Words, name: str) -> str:
    return words.t(f"audit.detail.{name}") if any(name in names for names in DETAILS.values()) else name


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return str(value)


def name_of(words: Words, kind: str) -> str:
    """Return what the page calls a kind; its own name for one of a newer version."""
    return words.t(f"audit.kind.{kind}") if kind in set(Kind) else kind
