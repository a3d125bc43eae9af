"""GET /api/requests/{id}/reasoning: the reasoning before an answer, for the fold on the page."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from shared.conversations import reasoning_of
from shared.errors import NotFound, Unavailable
from web.api.answers import Refusal, json_answer, owner_or_refuse, uuid_in_path
from web.api.guard import is_own_site
from web.runtime import current_runtime


async def reasoning(request: Request) -> Response:
    """Send the text; it is empty until the request has ended. Raises Refusal."""
    request_id = uuid_in_path(request, "request_id")
    owner = owner_or_refuse(request)
    if not is_own_site(request.headers):
        raise Refusal(403, "foreign_origin", "This can only be requested from Naru's own page.")
    try:
        text = await asyncio.to_thread(reasoning_of, current_runtime().engine, request_id, owner=owner)
    except NotFound:
        raise Refusal(404, "not_found", "This answer was deleted, or you can't see it.") from None
    except Unavailable:
        raise Refusal(503, "unavailable", "The database does not answer. Try again in a moment.") from None
    return json_answer({"text": text})
