"""How our routes answer: JSON that is never stored, and refusals with one sentence."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.people import Owner
from web.api.headers import security_headers
from web.asgi.identity import owner_in

log = logging.getLogger(__name__)

#: Of an address in the log.
LONGEST_PATH = 200


class Refusal(Exception):
    """A request that is answered with an error: its HTTP status, its code, and one sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence = status, code, sentence


def json_answer(data: dict[str, Any], *, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    return JSONResponse(data, status_code=status, headers={"cache-control": "no-store"})


async def refuse(request: Request, refusal: Exception) -> Response:
    """The answer to a Refusal raised in a route."""
    if not isinstance(refusal, Refusal):
        raise refusal
    log.info(
        "refused",
        extra={"error_code": refusal.code, "http_status": refusal.status, "path": request.url.path[:LONGEST_PATH]},
    )
    return json_answer({"error": refusal.code, "message": refusal.sentence}, status=refusal.status)


async def apologise(request: Request, error: Exception) -> Response:
    """The answer to an error of ours: made outside of all middleware, so it brings the headers itself."""
    log.error("a route failed", exc_info=error, extra={"path": request.url.path[:LONGEST_PATH]})
    answer = json_answer({"error": "internal", "message": "Something went wrong on the server."}, status=500)
    answer.headers.update(security_headers())
    return answer


def uuid_in_path(request: Request, name: str) -> UUID:
    """The id in the path. Raises Refusal for what is none."""
    try:
        return UUID(request.path_params[name])
    except ValueError:
        raise Refusal(400, "malformed_id", "The address does not hold a valid id.") from None


def owner_or_refuse(request: Request) -> Owner:
    """Return the owner who sends this request. Raises Refusal for a browser that has no identity yet."""
    owner = owner_in(request.scope)
    if owner is None:
        raise Refusal(401, "no_identity", "This browser is not known here. Load the page first.")
    return owner
