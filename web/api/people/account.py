"""GET /account, POST /account/password, /end, /end-all, /readings, /delete: password, devices, readers, the end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from html import escape
from uuid import UUID

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response

from shared import audit
from shared.audit import Kind, readings
from shared.audit.readings import Reading
from shared.errors import AccountRefused, NaruError
from shared.people import Owner, accounts, factors, identities, links, sessions, taking_over
from shared.people.accounts import Person
from shared.people.refusals import NotConfirmed
from shared.people.sessions import Session, SignedIn
from shared.postgres.database import transaction
from shared.retention import erase, hide
from shared.words import Words
from web.api.people import factor_pages, pages, passwords, places, signing
from web.api.people.attempts import check_code, check_password
from web.api.people.forms import form_of_a_person, go_to, path_to, with_accounts, words_of
from web.api.people.record import may_read_record
from web.asgi.identity import signed_in_in
from web.runtime import current_runtime

log = logging.getLogger(__name__)


@with_accounts
async def account_page(request: Request) -> Response:
    """Show the password form and the list of devices."""
    signed_in = signed_in_in(request.scope)
    return go_to(request, "/sign-in", back=places.ACCOUNT) if signed_in is None else await _page(request, signed_in)


@form_of_a_person
async def change_password(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Response:
    """Replace the password after the current one, and end the sessions of all other devices."""
    if not signed_in.has_password:
        return go_to(request, "/account")
    engine = current_runtime().engine
    try:
        person = await _checked(request, signed_in, values)
        await passwords.refuse_weak(values.get("password", ""), signed_in.email)
        password_hash = await passwords.hash_password(values.get("password", ""))
        await asyncio.to_thread(_replace, engine, person, password_hash, signed_in)
    except AccountRefused as error:
        return await _page(request, signed_in, error=error)
    log.info("password changed", extra={"owner": signed_in.owner.key})
    return await _page(request, signed_in, done="account.password_changed")


@form_of_a_person
async def end_session(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Response:
    """End one of the person's own sessions."""
    try:
        session_id = UUID(values.get("session", ""))
    except ValueError:
        return go_to(request, "/account")
    await asyncio.to_thread(sessions.end, current_runtime().engine, signed_in.person_id, session_id)
    return go_to(request, "/account")


@form_of_a_person
async def end_all_sessions(request: Request, signed_in: SignedIn, _: Mapping[str, str]) -> Response:
    """End all of the person's sessions, this one too."""
    await asyncio.to_thread(sessions.end_all, current_runtime().engine, signed_in.person_id)
    answer = go_to(request, "/sign-in")
    await signing.end(request, answer)
    return answer


#: Below Postgres's largest bigint.
MOST_DIGITS = 19


@form_of_a_person
async def acknowledge_readings(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Response:
    """Record that the person has seen the readings that the form showed."""
    shown = values.get("shown", "")
    if shown.isascii() and shown.isdigit() and len(shown) < MOST_DIGITS:
        engine = current_runtime().engine
        await asyncio.to_thread(readings.acknowledge, engine, signed_in.owner.key, shown=int(shown))
    return go_to(request, "/account")


@form_of_a_person
async def delete_account(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Response:
    """Delete the account, and everything of the person in the background.

    It asks for the password and the second factor; a person without a password types a word.
    """
    runtime = current_runtime()
    try:
        person = await _confirmed(request, signed_in, values)
        await asyncio.to_thread(accounts.check_removable, runtime.engine, person.id)
        if await asyncio.to_thread(factors.is_on, runtime.engine, person.id):
            await check_code(request, person, values.get("code", ""))
        await asyncio.to_thread(_remove, runtime.engine, person)
    except AccountRefused as error:
        return await _page(request, signed_in, error=error)
    log.info("account deleted", extra={"owner": person.owner.key})
    patience = runtime.settings.stop_patience_seconds
    threading.Thread(target=_erase, args=(runtime.engine, person.owner, patience), name="erasing", daemon=True).start()
    words = words_of(request)
    body = pages.done(words.t("account.deleted"))
    answer = pages.page(words, words.t("account.title"), body, request=request)
    await signing.end(request, answer)
    return answer


async def _confirmed(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Person:
    """Return the person who wants the account deleted. Raises NotConfirmed and the errors of check_password."""
    if signed_in.has_password:
        return await _checked(request, signed_in, values)
    if values.get("word", "").strip().casefold() != words_of(request).t("account.delete_word"):
        raise NotConfirmed
    return await asyncio.to_thread(accounts.person_with, current_runtime().engine, signed_in.owner.key)


async def _checked(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Person:
    """Return the person if the current password is right, and record a refusal. Raises as `check_password` does."""
    try:
        return await check_password(request, signed_in.email, values.get("current", ""))
    except AccountRefused as error:
        note, key = current_runtime().audit.repeats.record_if_possible, signed_in.owner.key
        await asyncio.to_thread(note, Kind.PASSWORD_REFUSED, subject=key, reason=error.code)
        raise


def _remove(engine: Engine, person: Person) -> None:
    """Remove the account, once its chats are hidden: should this process end now, the purge removes them later."""
    accounts.check_removable(engine, person.id)
    number = taking_over.conversations_of(engine, person.owner)
    hide(engine, person.owner)
    accounts.remove(engine, person.id, conversations=number)


def _erase(engine: Engine, owner: Owner, patience_seconds: float) -> None:
    try:
        gone = erase(engine, owner, stop_patience_seconds=patience_seconds)
        log.info("chats of a deleted account erased", extra={"owner": owner.key, "rows": gone.total()})
    except Exception:
        log.exception("chats of a deleted account: left to the purge", extra={"owner": owner.key})


def _replace(engine: Engine, person: Person, password_hash: str, signed_in: SignedIn) -> None:
    with transaction(engine) as connection:
        accounts.set_password(connection, person.id, password_hash, instead_of=person.password_hash)
        links.remove_password_links(connection, person.id)
        sessions.end_all_in(connection, person.id, but=signed_in.session_id)
        audit.record(connection, Kind.PASSWORD_CHANGED, subject=person.owner.key)


async def _page(request: Request, signed_in: SignedIn, *, error: NaruError | None = None, done: str = "") -> Response:
    words = words_of(request)
    runtime = current_runtime()
    devices = await asyncio.to_thread(sessions.sessions_of, runtime.engine, signed_in.person_id, runtime.settings)
    has_twin = not signed_in.has_password and await asyncio.to_thread(
        identities.shares_address, runtime.engine, signed_in.person_id, signed_in.email
    )
    has_factor = await asyncio.to_thread(factors.is_on, runtime.engine, signed_in.person_id)
    read = await asyncio.to_thread(readings.readings_of, runtime.engine, signed_in.owner.key)
    parts = [
        pages.paragraph(signed_in.shown),
        pages.paragraph(words.t("account.same_address")) if has_twin else "",
        pages.error(pages.said(words, error)),
        pages.done(words.t(done) if done else ""),
        *_readings(request, words, read),
        pages.link(path_to(request, "/"), words.t("account.back")),
        pages.link(path_to(request, "/audit"), words.t("audit.title")) if may_read_record(signed_in) else "",
        pages.heading(words.t("account.devices")),
        "<ul>",
        *(_device(request, words, each, signed_in) for each in devices),
        "</ul>",
        pages.form(path_to(request, "/sign-out"), words.t("account.sign_out")),
        pages.form(path_to(request, "/account/end-all"), words.t("account.sign_out_all"), is_quiet=True),
        *_password_part(request, words, signed_in, has_factor=has_factor, focuses=error is not None),
        pages.heading(words.t("account.delete")),
        pages.paragraph(words.t("account.delete_text")),
        pages.form(
            path_to(request, "/account/delete"),
            words.t("account.delete"),
            _confirming(words, signed_in, has_factor=has_factor),
            is_quiet=True,
            focuses=False,
        ),
    ]
    title = words.t("account.title")
    return pages.page(words, title, "".join(parts), request=request, status=pages.status_of(error))


def _password_part(
    request: Request, words: Words, signed_in: SignedIn, *, has_factor: bool, focuses: bool
) -> list[str]:
    if not signed_in.has_password:
        return [pages.paragraph(words.t("account.no_password"))]
    address, save = path_to(request, "/account/password"), words.t("account.save")
    return [
        pages.heading(words.t("account.change_password")),
        pages.form(address, save, _password_entries(words), focuses=focuses),
        pages.heading(words.t("factor.title")),
        pages.link(path_to(request, "/account/factor"), words.t("factor.change" if has_factor else "factor.begin")),
    ]


def _confirming(words: Words, signed_in: SignedIn, *, has_factor: bool) -> list[pages.Entry]:
    """Return the boxes that confirm the deletion of an account."""
    if not signed_in.has_password:
        return [_word_to_type(words)]
    code = [factor_pages.code_entry(words, box_id="delete-code")] if has_factor else []
    return [pages.current_password(words, "delete-current"), *code]


def _word_to_type(words: Words) -> pages.Entry:
    label = words.t("account.delete_confirm", word=words.t("account.delete_word"))
    return pages.Entry(name="word", label=label, autocomplete="off")


def _readings(request: Request, words: Words, read: list[Reading]) -> list[str]:
    """Return a line for each time that an administrator read the person's chats, with a notice while one is new."""
    if not read:
        return []
    lines = [words.t("account.was_read", time=f"{each.at:%Y-%m-%d %H:%M} UTC", reason=each.reason) for each in read]
    shown = "".join(f"<li><span>{escape(line)}</span></li>" for line in lines)
    parts = [pages.heading(words.t("account.readings")), "<ul>", shown, "</ul>"]
    if any(each.is_new for each in read):
        parts.insert(0, pages.error(words.t("account.was_read_lately")))
        path, newest = path_to(request, "/account/readings"), {"shown": str(read[0].seq)}
        parts.append(pages.form(path, words.t("account.acknowledge"), hidden=newest, is_quiet=True))
    return parts


def _password_entries(words: Words) -> tuple[pages.Entry, pages.Entry]:
    return pages.current_password(words), pages.new_password(words)


def _device(request: Request, words: Words, device: Session, signed_in: SignedIn) -> str:
    seen = f"{words.time(device.seen_at)} UTC"
    line = escape(f"{device.device} · {device.address} · {seen}")
    if device.id == signed_in.session_id:
        return f"<li><span>{line}</span><strong>{escape(words.t('account.this_device'))}</strong></li>"
    end = pages.form(
        path_to(request, "/account/end"),
        words.t("account.sign_out"),
        hidden={"session": str(device.id)},
        is_quiet=True,
        label=f"{words.t('account.sign_out')}: {device.device}, {seen}",
    )
    return f"<li><span>{line}</span>{end}</li>"
