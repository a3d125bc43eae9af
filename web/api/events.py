"""GET /api/conversations/{id}/events: a conversation's changes as server-sent events.

Only HTTP is here; `web/watch/viewer.py` decides what a viewer is sent.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from web.api.answers import Refusal, json_answer, owner_or_refuse, uuid_in_path
from web.api.guard import is_own_site
from web.asgi.address import client_of
from web.asgi.direct_send import DirectBody
from web.asgi.identity import signed_in_in
from web.limits import report_over_limit
from web.runtime import current_runtime
from web.watch import frames
from web.watch.viewer import Viewer
from web.watch.watcher import KEEP_ALIVE_SECONDS, TooManyViewers, Watcher

log = logging.getLogger(__name__)

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    # Keep nginx from buffering the stream.
    "x-accel-buffering": "no",
    "cache-control": "no-store",
}
_OVER_LIMIT = {
    "streams_per_owner": "Too many open pages in this browser. Close some of them.",
    "streams_per_address": "Too many open pages behind this address. Close some of them.",
    "streams": "This server cannot follow more pages. Try again in a moment.",
}


async def events(request: Request) -> Response:
    """Open the stream. Raises Refusal, or answers 429 when too many streams are open."""
    conversation_id = uuid_in_path(request, "conversation_id")
    owner = owner_or_refuse(request)
    if not is_own_site(request.headers):
        raise Refusal(403, "foreign_origin", "This can only be requested from Naru's own page.")
    watcher = current_runtime().watcher
    if watcher is None or watcher.is_closing:
        raise Refusal(503, "stopping", "The server is stopping. Try again in a moment.")
    client = client_of(request.scope)
    resume_from = request.headers.get("last-event-id") or request.query_params.get("after")
    try:
        watcher.check(owner, client)  # saves the query below where a limit is reached
        if not await watcher.may_look(conversation_id, owner):
            raise Refusal(404, "not_found", "This chat was deleted, or you can't see it.")
        viewer = watcher.enter(conversation_id, owner=owner, client=client, cursor=frames.parse_cursor(resume_from))
    except TooManyViewers as error:
        report_over_limit(error.limit, client)
        return _too_many(error.limit)
    return EventStream(watcher, viewer)


def _too_many(limit: str) -> Response:
    """Refuse with 429. The page retries with growing delays, and polls for the answer in the meantime."""
    answer = json_answer({"error": limit, "message": _OVER_LIMIT[limit]}, status=429)
    answer.headers["retry-after"] = "15"
    return answer


class EventStream(Response):
    """Sends a viewer its events until either side closes."""

    def __init__(self, watcher: Watcher, viewer: Viewer) -> None:
        self._watcher = watcher
        self._viewer = viewer
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response headers, then the events."""
        body = DirectBody(scope, send)
        disconnect = asyncio.create_task(_close_on_disconnect(self._viewer, receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": frames.RETRY, "more_body": True})
            with current_runtime().sign_ins.held(signed_in_in(scope), self._viewer.close):
                await _Following(self._viewer, body).run()
            await body.end()
        finally:
            disconnect.cancel()
            self._watcher.leave(self._viewer)


class _Following:
    """Sends one viewer its pending events: at once if the connection is writable, otherwise from `run`."""

    def __init__(self, viewer: Viewer, body: DirectBody) -> None:
        self._viewer, self._body = viewer, body
        self._loop = asyncio.get_running_loop()
        #: True while `run` is sending; `_push` must not overtake it.
        self._is_sending = False

    async def run(self) -> None:
        """Send until the viewer is closed."""
        viewer = self._viewer
        viewer.push = self._push
        while not viewer.is_closed:
            await viewer.wait()
            self._is_sending = True
            if pending := self._collect():
                # A slow browser blocks us here; it gets all that piles up meanwhile in one piece.
                await self._body.send(pending)
            self._is_sending = False

    def _collect(self) -> bytes:
        return self._viewer.collect(self._loop.time(), keep_alive_seconds=KEEP_ALIVE_SECONDS)

    def _push(self) -> bool:
        """Send everything pending now. Return False if the connection cannot take it: then `run` sends it.

        Never raises, because that would stop the caller's loop over all viewers.
        """
        if self._is_sending or not self._body.is_writable:
            return False
        try:
            if pending := self._collect():
                self._body.write(pending)
        except Exception:
            log.exception("closing a viewer: internal error; its browser will reconnect")
            self._viewer.close()
        return True


async def _close_on_disconnect(viewer: Viewer, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.close()
