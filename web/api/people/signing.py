"""Begin and end a session, with its cookies."""

from __future__ import annotations

import asyncio
import logging
import secrets

from starlette.requests import Request
from starlette.responses import Response

from shared import metrics
from shared.people import sessions
from shared.people.accounts import Person
from web.api.people.devices import KnownDevices, device_of
from web.asgi.address import client_of
from web.asgi.cookies import LIFETIME_SECONDS, SessionCookie, set_cookie
from web.asgi.identity import browser_in, is_secure, owner_in, signed_in_in
from web.runtime import current_runtime

log = logging.getLogger(__name__)


async def begin(
    request: Request, person: Person, answer: Response, *, factors: str, provider_sid: str | None = None
) -> None:
    """Begin a session of this person, and set its cookies in the answer. It replaces the browser's earlier session.

    `factors` is how the person signed in (shared/people/sessions.py), `provider_sid` the id of the session at the
    provider of OpenID Connect. Raises WrongPassword if the password has changed meanwhile, and Unavailable.
    """
    runtime = current_runtime()
    settings = runtime.settings
    earlier = signed_in_in(request.scope)
    token = await asyncio.to_thread(
        sessions.begin,
        runtime.engine,
        person,
        device=device_of(request.headers.get("user-agent", "")),
        address=client_of(request.scope),
        ends=earlier.session_id if earlier else None,
        provider_sid=provider_sid,
        factors=factors,
    )
    is_tls = is_secure(request.scope, settings)
    name, value = SessionCookie(settings.secret_key).make(token, is_tls=is_tls)
    answer.headers.append("set-cookie", set_cookie(name, value, seconds=settings.session_days * 86_400))
    known = KnownDevices(settings.secret_key)
    if known.is_somebody_elses(request, person.owner):
        forget_storage(answer)
    if browser_id := browser_in(request.scope):
        answer.headers.append("set-cookie", known.cookie(person.owner, browser_id, is_tls=is_tls))
    metrics.SIGN_INS.labels("good").inc()
    log.info("signed in", extra={"owner": person.owner.key})


async def end(request: Request, answer: Response) -> None:
    """End the browser's session, and make the browser forget its cookie. Raises Unavailable."""
    runtime = current_runtime()
    settings = runtime.settings
    cookie = SessionCookie(settings.secret_key)
    token = cookie.read(request.headers.getlist("cookie"), is_tls=is_secure(request.scope, settings))
    if token is not None:
        await asyncio.to_thread(sessions.end_with, runtime.engine, token)
        runtime.sign_ins.forget(token)
        log.info("signed out", extra={"owner": str(owner_in(request.scope) or "")})
    for name in cookie.names:
        answer.headers.append("set-cookie", set_cookie(name, "", seconds=0))
    forget_storage(answer)


def forget_storage(answer: Response) -> None:
    """Make the browser forget what was typed in its tabs.

    Over TLS and on loopback it clears its storage now. Over plain HTTP it ignores that header, so a cookie tells each
    tab to do so at its next page, before it shows a draft (web/shell/skeleton.js).
    """
    answer.headers["clear-site-data"] = '"storage"'
    mark = f"naru_before={secrets.token_urlsafe(9)}; Max-Age={LIFETIME_SECONDS}; Path=/; SameSite=Lax"
    answer.headers.append("set-cookie", mark)
