"""Company sign-in: GET /openid/begin and /openid/callback, and POST /openid/logout.

The logout is called by the provider, not by a browser: its token is the proof (OpenID Connect Back-Channel Logout 1.0).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from shared.errors import AccountRefused, NaruError, WrongPassword
from shared.people import identities
from shared.people.refusals import AccountDisabled, SignInCancelled, SignInInvalid, SignInRefused, SignInUnreachable
from shared.people.sessions import COMPANY
from web.api.guard import is_own_site
from web.api.people import attempts as people_attempts
from web.api.people import signing
from web.api.people.admission import where_next
from web.api.people.forms import address_of, go_to, values_in, with_accounts
from web.api.people.places import back_in
from web.api.people.sign_in import show
from web.asgi.cookies import TokenCookie, set_cookie
from web.asgi.identity import is_secure, owner_in
from web.openid import attempts
from web.openid.attempts import Attempt
from web.openid.claims import claimed_in
from web.runtime import current_runtime

if TYPE_CHECKING:
    from web.openid.provider import Provider

log = logging.getLogger(__name__)

_NO_STORE = {"cache-control": "no-store"}
#: Longest form with a logout token.
_LONGEST_LOGOUT_BYTES = 65_536

OpenIdHandler = Callable[[Request, "Provider"], Awaitable[Response]]


def _with_openid(handler: OpenIdHandler) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a route that exists only with company sign-in; without it, the route leads to the sign-in."""

    @with_accounts
    @functools.wraps(handler)
    async def guarded(request: Request) -> Response:
        provider = current_runtime().openid
        return go_to(request, "/sign-in") if provider is None else await handler(request, provider)

    return guarded


@_with_openid
async def begin_openid(request: Request, provider: Provider) -> Response:
    """Send the browser to the provider."""
    back = back_in(request.query_params)
    if owner_in(request.scope) is not None:
        return go_to(request, "/", back=back)
    if not is_own_site(request.headers):
        return go_to(request, "/sign-in", back=back)  # a link elsewhere must not sign anybody in: they press the button
    attempt = attempts.begin(_secret_in(request) or secrets.token_urlsafe(32), back)
    try:
        address = await provider.address_for(attempt, _redirect_uri(request))
    except AccountRefused as error:
        return await _refused(request, error, back)
    answer = RedirectResponse(address, status_code=303, headers=_NO_STORE)
    settings = current_runtime().settings
    name, value = _cookie().make(attempt.secret, is_tls=is_secure(request.scope, settings))
    answer.headers.append("set-cookie", set_cookie(name, value, seconds=attempts.SECONDS))
    return answer


@_with_openid
async def finish_openid(request: Request, provider: Provider) -> Response:
    """Begin a session of the person whom the provider has signed in, or say why not."""
    back = ""
    try:
        attempt = attempts.resume(_secret_in(request), request.query_params.get("state", ""))
        back = back_in({"c": attempt.back})
        answer = await _signed_in(request, provider, attempt, back)
    except NaruError as error:
        answer = await _refused(request, error, back)
    for name in _cookie().names:
        if name in request.cookies:
            answer.headers.append("set-cookie", set_cookie(name, "", seconds=0))
    return answer


@_with_openid
async def end_openid(request: Request, provider: Provider) -> Response:
    """End the sessions that the provider has ended. Answers as the standard says: 200, or 400 with an error."""
    try:
        token = (await values_in(request, longest=_LONGEST_LOGOUT_BYTES)).get("logout_token", "")
        ended = await provider.ended_session(token)
        issuer = current_runtime().settings.oidc_issuer
        number = await asyncio.to_thread(
            identities.end_sessions,
            current_runtime().engine,
            issuer=issuer,
            subject=ended.subject,
            sid=ended.sid,
            token_id=ended.token_id,
        )
    except AccountRefused as error:
        log.warning("logout by the provider refused", extra={"reason": error.code, "detail": str(error)})
        data = {"error": "invalid_request", "error_description": str(error)}
        return JSONResponse(data, status_code=503 if isinstance(error, SignInUnreachable) else 400, headers=_NO_STORE)
    log.info("sessions ended by the provider", extra={"sessions": number})
    return Response(status_code=200, headers=_NO_STORE)


async def _signed_in(request: Request, provider: Provider, attempt: Attempt, back: str) -> Response:
    """Return the answer that signs the browser in. Raises CompanyRefused and Unavailable."""
    runtime = current_runtime()
    params = request.query_params
    await _check_issuer(provider, params.get("iss"))
    if error := params.get("error"):
        log.warning("the provider answered with an error", extra={"error": error[:100]})
        raise SignInCancelled if error == "access_denied" else SignInRefused
    if not params.get("code"):
        raise SignInInvalid("The provider sent no code.")
    found = await provider.sign_in(attempt, params["code"], _redirect_uri(request))
    claimed = claimed_in(found.claims, runtime.settings.oidc_issuer, runtime.settings)
    person = await asyncio.to_thread(identities.enter, runtime.engine, claimed, runtime.settings.roles_of_groups)
    answer = go_to(request, await where_next(request), back=back)
    try:
        await signing.begin(request, person, answer, factors=COMPANY, provider_sid=found.sid or None)
    except WrongPassword:
        raise AccountDisabled from None  # in this moment
    return answer


async def _check_issuer(provider: Provider, given: str | None) -> None:
    """Raise SignInInvalid for an answer of another provider (RFC 9207)."""
    metadata = await provider.metadata()
    if given != metadata.issuer and (given is not None or metadata.sends_issuer):
        raise SignInInvalid("The answer is of another issuer.")


async def _refused(request: Request, error: NaruError, back: str) -> Response:
    """Return the sign-in page with the reason, from which the person can begin again."""
    if isinstance(error, AccountRefused):
        log.info("company sign-in refused", extra={"detail": str(error)})
        await people_attempts.report(request, error)
    return show(request, back=back, error=error)


def _redirect_uri(request: Request) -> str:
    return address_of(request, "/openid/callback")


def _secret_in(request: Request) -> str:
    is_tls = is_secure(request.scope, current_runtime().settings)
    return _cookie().read(request.headers.getlist("cookie"), is_tls=is_tls) or ""


def _cookie() -> TokenCookie:
    return TokenCookie(current_runtime().settings.secret_key, "openid", seconds=attempts.SECONDS)
