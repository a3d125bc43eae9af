"""GET /account/factor, POST /account/factor/…: a person's own second factor, after the password.

    begin     a new secret, which does not count yet
    confirm   it counts, once the person has entered a code made from it
    codes     new recovery codes
    off       without a second factor again

Switching it on or off ends the sessions of all other devices.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import AccountRefused, BadLink, NaruError
from shared.people import allowances, codes, factors
from shared.people.codes import Begun
from shared.people.factors import Factor
from shared.people.sessions import SignedIn, needs_factor
from shared.words import Words
from web.api.people import attempts, factor_pages, pages, places
from web.api.people.forms import form_of_a_person, go_to, path_to, with_accounts, words_of
from web.asgi.identity import signed_in_in
from web.runtime import current_runtime

log = logging.getLogger(__name__)


@with_accounts
async def factor_page(request: Request) -> Response:
    """Show whether the factor is on, with the forms that change it."""
    signed_in = signed_in_in(request.scope)
    return go_to(request, "/sign-in", back=places.FACTOR) if signed_in is None else await _page(request, signed_in)


@form_of_a_person
async def begin_factor(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Response:
    """Show a new secret after the current password."""
    engine = current_runtime().engine
    try:
        person = await attempts.check_password(request, signed_in.email, values.get("current", ""))
    except AccountRefused as error:
        return await _page(request, signed_in, error=error)
    if await asyncio.to_thread(factors.is_on, engine, person.id):
        return go_to(request, "/account/factor")
    return _setup(request, codes.begin(person.id, person.email, attempts.sealing()))


@form_of_a_person
async def confirm_factor(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Response:
    """Switch the factor on after its first code, and show the recovery codes."""
    sealing, code = attempts.sealing(), values.get("code", "")
    try:
        begun = codes.begun_again(values.get("begun", ""), signed_in.person_id, signed_in.email, sealing)
    except BadLink:
        return go_to(request, "/account/factor")
    engine, session_id = current_runtime().engine, signed_in.session_id
    try:
        new = await asyncio.to_thread(
            codes.switch_on, engine, signed_in.person_id, begun, code, sealing, but=session_id
        )
    except AccountRefused as error:
        return _setup(request, begun, error=error)
    log.info("second factor switched on", extra={"owner": signed_in.owner.key})
    return factor_pages.recovery_codes(request, new, onward="/account/factor")


@form_of_a_person
async def renew_codes(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Response:
    """Show new recovery codes, after the password and a code."""
    try:
        person = await attempts.check_password(request, signed_in.email, values.get("current", ""))
        keys = await attempts.take_code(request, person)
        engine, code = current_runtime().engine, values.get("code", "")
        new = await asyncio.to_thread(codes.new_recovery_codes, engine, person.id, code, attempts.sealing())
        await asyncio.to_thread(allowances.give_back, engine, keys)
    except AccountRefused as error:
        return await _page(request, signed_in, error=error)
    log.info("recovery codes renewed", extra={"owner": signed_in.owner.key})
    return factor_pages.recovery_codes(request, new, onward="/account/factor")


@form_of_a_person
async def switch_factor_off(request: Request, signed_in: SignedIn, values: Mapping[str, str]) -> Response:
    """Switch the factor off, after the password and a code."""
    try:
        person = await attempts.check_password(request, signed_in.email, values.get("current", ""))
        if needs_factor(current_runtime().settings, signed_in.role):
            return await _page(request, signed_in)  # which says so
        keys = await attempts.take_code(request, person)
        engine, code = current_runtime().engine, values.get("code", "")
        await asyncio.to_thread(codes.switch_off, engine, person.id, code, attempts.sealing(), but=signed_in.session_id)
        await asyncio.to_thread(allowances.give_back, engine, keys)
    except AccountRefused as error:
        return await _page(request, signed_in, error=error)
    log.info("second factor switched off", extra={"owner": signed_in.owner.key})
    return await _page(request, signed_in, done="factor.is_off_now")


def _setup(request: Request, begun: Begun, *, error: NaruError | None = None) -> Response:
    return factor_pages.setup(request, begun, action="/account/factor/confirm", error=error)


async def _page(request: Request, signed_in: SignedIn, *, error: NaruError | None = None, done: str = "") -> Response:
    words, runtime = words_of(request), current_runtime()
    factor = await asyncio.to_thread(factors.factor_of, runtime.engine, signed_in.person_id)
    parts = [
        pages.error(pages.said(words, error)),
        pages.done(words.t(done) if done else ""),
        pages.paragraph(words.t("factor.text")),
    ]
    if factor is None:
        begin = path_to(request, "/account/factor/begin")
        parts.append(pages.form(begin, words.t("factor.begin"), [pages.current_password(words)]))
    else:
        is_needed = needs_factor(runtime.settings, signed_in.role)
        parts += _forms_while_on(request, words, factor, is_needed=is_needed)
    parts.append(pages.link(path_to(request, "/account"), words.t("factor.back")))
    title = words.t("factor.title")
    return pages.page(words, title, "".join(parts), request=request, status=pages.status_of(error))


def _forms_while_on(request: Request, words: Words, factor: Factor, *, is_needed: bool) -> list[str]:
    state = words.t("factor.on_since", date=words.time(factor.on_since), number=factor.codes_left)
    forms = [
        pages.paragraph(state),
        pages.heading(words.t("factor.renew")),
        pages.paragraph(words.t("factor.renew_text")),
        pages.form(
            path_to(request, "/account/factor/codes"),
            words.t("factor.renew"),
            [pages.current_password(words), factor_pages.code_entry(words)],
            focuses=False,
        ),
    ]
    if is_needed:
        return [*forms, pages.paragraph(words.t("factor.is_needed"))]
    return [
        *forms,
        pages.heading(words.t("factor.off")),
        pages.form(
            path_to(request, "/account/factor/off"),
            words.t("factor.off"),
            [pages.current_password(words, "off-current"), factor_pages.code_entry(words, box_id="off-code")],
            is_quiet=True,
            focuses=False,
        ),
    ]
