"""GET, POST /new-password: set a password behind a one-time link."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response

from shared import audit
from shared.audit import Kind
from shared.errors import AccountRefused, BadLink, NaruError
from shared.people import Owner, accounts, allowances, links, sessions
from shared.postgres.database import transaction
from web.api.people import pages, passwords
from web.api.people.attempts import account_key
from web.api.people.forms import form_of, path_to, with_passwords, words_of
from web.runtime import current_runtime

log = logging.getLogger(__name__)


@with_passwords
async def new_password_page(request: Request) -> Response:
    """Show the form, or say that the link cannot be used."""
    token = request.query_params.get("link", "")
    try:
        await asyncio.to_thread(links.email_behind, current_runtime().engine, token)
    except BadLink:
        return _refusal(request)
    return _page(request, token)


@with_passwords
async def new_password(request: Request) -> Response:
    """Set the password, end all sessions of the account, and forget its failed attempts. The person signs in next."""
    values = await form_of(request)
    token, password = values.get("link", ""), values.get("password", "")
    engine = current_runtime().engine
    try:
        email = await asyncio.to_thread(links.email_behind, engine, token)
        await passwords.refuse_weak(password, email)
        await asyncio.to_thread(_set, engine, token, await passwords.hash_password(password))
        await asyncio.to_thread(allowances.forget, engine, account_key(email))
    except BadLink:
        return _refusal(request)
    except AccountRefused as error:
        return _page(request, token, error=error)
    words = words_of(request)
    body = pages.done(words.t("account.password_set"))
    body += pages.link(path_to(request, "/sign-in"), words.t("account.sign_in"), is_quiet=False)
    return pages.page(words, words.t("account.new_password"), body, request=request)


def _set(engine: Engine, token: str, password_hash: str) -> None:
    with transaction(engine) as connection:
        person_id = links.take_password_link(connection, token)
        accounts.set_password(connection, person_id, password_hash)
        sessions.end_all_in(connection, person_id)
        key = Owner.person(person_id).key
        audit.record(connection, Kind.PASSWORD_SET, subject=key)
    log.info("password set by a link", extra={"owner": key})


def _page(request: Request, token: str, *, error: NaruError | None = None) -> Response:
    words = words_of(request)
    body = pages.error(pages.said(words, error)) + pages.form(
        path_to(request, "/new-password"), words.t("account.save"), [pages.new_password(words)], hidden={"link": token}
    )
    return pages.page(words, words.t("account.new_password"), body, request=request, status=pages.status_of(error))


def _refusal(request: Request) -> Response:
    words = words_of(request)
    body = pages.error(pages.said(words, BadLink()))
    body += pages.link(path_to(request, "/sign-in"), words.t("account.sign_in_instead"))
    return pages.page(words, words.t("account.new_password"), body, request=request, status=400)
