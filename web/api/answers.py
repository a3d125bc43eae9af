"""Answers of our routes: JSON that no cache stores, and refusals with one sentence."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.people import Owner
from web.api.headers import security_headers
from web.asgi.address import client_of
from web.asgi.cookies import Verdict
from web.asgi.identity import owner_in, verdict_in

log = logging.getLogger(__name__)

#: Longest path in a log line, in characters.
LONGEST_PATH = 200


class Refusal(Exception):
    """A request answered with an error: an HTTP status, a code and one sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence = status, code, sentence


def json_answer(data: dict[str, Any], *, status: int = 200) -> Response:
    """Return a JSON response that no cache stores."""
    return JSONResponse(data, status_code=status, headers={"cache-control": "no-store"})


async def refuse(request: Request, refusal: Exception) -> Response:
    """Handle a Refusal raised in a route."""
    if not isinstance(refusal, Refusal):
        raise refusal
    log.info(
        "refused",
        extra={
            "error_code": refusal.code,
            "http_status": refusal.status,
            "path": request.url.path[:LONGEST_PATH],
            "client": client_of(request.scope),
        },
    )
    return json_answer({"error": refusal.code, "message": refusal.sentence}, status=refusal.status)


async def apologise(request: Request, error: Exception) -> Response:
    """Handle an unexpected error. This runs outside all middleware, so it adds the security headers itself."""
    log.error("a route failed", exc_info=error, extra={"path": request.url.path[:LONGEST_PATH]})
    answer = json_answer({"error": "internal", "message": "Something went wrong on the server."}, status=500)
    answer.headers.update(security_headers())
    return answer


def uuid_in_path(request: Request, name: str) -> UUID:
    """Return the id in the path. Raises Refusal if it is malformed."""
    try:
        return UUID(request.path_params[name])
    except ValueError:
        raise Refusal(400, "malformed_id", "The address does not hold a valid id.") from None


def owner_or_refuse(request: Request) -> Owner:
    """Return the owner. Raises Refusal for a browser without an identity, and for one that is signed out."""
    owner = owner_in(request.scope)
    if owner is not None:
        return owner
    match verdict_in(request.scope):
        case Verdict.SIGNED_OUT:
            raise Refusal(401, "signed_out", "You are signed out. Sign in, then try again.")
        case Verdict.UNKNOWN:
            raise Refusal(503, "unavailable", "The database does not answer. Try again in a moment.")
        case _:
            raise Refusal(401, "no_identity", "This browser is not known here. Load the page first.")
