"""GET, POST /sign-in/code and /sign-in/enrol: the second step of a sign-in, after the password.

`code` asks for a code of the app or a recovery code. `enrol` sets up the app of somebody who has to have one
(NARU_SECOND_FACTOR).
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import BadLink, NaruError
from shared.people import codes, factors
from shared.people.accounts import Person
from shared.people.codes import Begun
from web.api.people import admission, attempts, factor_pages, pages
from web.api.people.admission import HalfSignedInOver
from web.api.people.forms import form_of, go_to, path_to, with_accounts, words_of
from web.api.people.places import back_in
from web.runtime import current_runtime


@with_accounts
async def code_page(request: Request) -> Response:
    """Ask for the code."""
    try:
        await admission.half_signed_in(request)
    except HalfSignedInOver as error:
        return _over(request, error)
    return _code_page(request, back=back_in(request.query_params))


@with_accounts
async def enter_code(request: Request) -> Response:
    """Check the code and begin a session."""
    values = await form_of(request)
    back = back_in(values)
    person: Person | None = None
    try:
        person = await admission.half_signed_in(request)
        await attempts.check_code(request, person, values.get("code", ""))
        answer = go_to(request, await admission.where_next(request), back=back)
        await admission.finish(request, person, answer)
    except HalfSignedInOver as error:
        return _over(request, error)
    except NaruError as error:
        await attempts.report(request, error, subject="" if person is None else person.owner.key)
        return _code_page(request, back=back, error=error)
    return answer


@with_accounts
async def enrol_page(request: Request) -> Response:
    """Show a new secret."""
    back = back_in(request.query_params)
    try:
        person = await admission.half_signed_in(request)
    except HalfSignedInOver as error:
        return _over(request, error)
    if await _has_factor(person):
        return go_to(request, "/sign-in/code", back=back)
    return _setup(request, codes.begin(person.id, person.email, attempts.sealing()), back=back)


@with_accounts
async def enrol(request: Request) -> Response:
    """Switch the factor on after its first code, begin a session, and show the recovery codes."""
    values, sealing = await form_of(request), attempts.sealing()
    back, engine = back_in(values), current_runtime().engine
    try:
        person = await admission.half_signed_in(request)
        begun = codes.begun_again(values.get("begun", ""), person.id, person.email, sealing)
    except (HalfSignedInOver, BadLink):
        return _over(request, HalfSignedInOver())
    if await _has_factor(person):
        return go_to(request, "/sign-in/code", back=back)
    try:
        new = await asyncio.to_thread(codes.switch_on, engine, person.id, begun, values.get("code", ""), sealing)
        answer = factor_pages.recovery_codes(request, new, onward=await admission.where_next(request), back=back)
        await admission.finish(request, person, answer)
    except NaruError as error:
        await attempts.report(request, error, subject=person.owner.key)
        return _setup(request, begun, back=back, error=error)
    return answer


async def _has_factor(person: Person) -> bool:
    return await asyncio.to_thread(factors.is_on, current_runtime().engine, person.id)


def _setup(request: Request, begun: Begun, *, back: str, error: NaruError | None = None) -> Response:
    note = words_of(request).t("factor.needed")
    return factor_pages.setup(request, begun, action="/sign-in/enrol", note=note, back=back, error=error)


def _code_page(request: Request, *, back: str, error: NaruError | None = None) -> Response:
    words = words_of(request)
    body = pages.paragraph(words.t("factor.code_text")) + pages.error(pages.said(words, error))
    body += pages.form(
        path_to(request, "/sign-in/code"),
        words.t("account.sign_in"),
        [factor_pages.code_entry(words)],
        hidden={"c": back},
    )
    body += pages.paragraph(words.t("factor.lost"))
    body += pages.link(path_to(request, "/sign-in", back=back), words.t("factor.start_over"))
    return pages.page(words, words.t("factor.enter_code"), body, request=request, status=pages.status_of(error))


def _over(request: Request, error: NaruError) -> Response:
    words = words_of(request)
    body = pages.error(pages.said(words, error))
    body += pages.link(path_to(request, "/sign-in"), words.t("account.sign_in"), is_quiet=False)
    return pages.page(words, words.t("factor.enter_code"), body, request=request, status=pages.status_of(error))
