"""GET /api/conversations/{id}/events: what happens in a conversation, as server-sent events.

Only HTTP is here; what is sent is cut in `web/watch/viewer.py`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from web.api.answers import Refusal, json_answer, owner_or_refuse, uuid_in_path
from web.api.guard import is_own_site
from web.asgi.address import client_of
from web.limits import report_over_limit
from web.runtime import current_runtime
from web.watch import frames
from web.watch.viewer import Viewer
from web.watch.watcher import KEEP_ALIVE_SECONDS, TooManyViewers, Watcher

log = logging.getLogger(__name__)

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    # A proxy that collects before it sends would hold words back.
    "x-accel-buffering": "no",
    "cache-control": "no-store",
}
_OVER_LIMIT = {
    "streams_per_owner": "Too many open pages in this browser. Close some of them.",
    "streams_per_address": "Too many open pages behind this address. Close some of them.",
    "streams": "This server follows as many pages as it can. Try again in a moment.",
}
#: Where `DirectSend` keeps it.
_DIRECT = "naru.send"


async def events(request: Request) -> Response:
    """Opens the stream, or says why not."""
    conversation_id = uuid_in_path(request, "conversation_id")
    owner = owner_or_refuse(request)
    if not is_own_site(request.headers):
        raise Refusal(403, "foreign_origin", "This can only be asked from Naru's own page.")
    watcher = current_runtime().watcher
    if watcher is None or watcher.is_closing:
        raise Refusal(503, "stopping", "The server is stopping. Try again in a moment.")
    client = client_of(request.scope)
    resume_from = request.headers.get("last-event-id") or request.query_params.get("after")
    try:
        watcher.check(owner, client)  # before Postgres is asked
        if not await watcher.may_look(conversation_id, owner):
            raise Refusal(404, "not_found", "This chat was deleted, or you can't see it.")
        viewer = watcher.enter(conversation_id, owner=owner, client=client, cursor=frames.parse_cursor(resume_from))
    except TooManyViewers as error:
        report_over_limit(error.limit, client)
        return _too_many(error.limit)
    return EventStream(watcher, viewer)


def _too_many(limit: str) -> Response:
    """The refusal. The page tries again by itself, less and less often, and looks for the answer without a stream."""
    answer = json_answer({"error": limit, "message": _OVER_LIMIT[limit]}, status=429)
    answer.headers["retry-after"] = "15"
    return answer


class EventStream(Response):
    """Sends a viewer what it lacks until either side ends it."""

    def __init__(self, watcher: Watcher, viewer: Viewer) -> None:
        self._watcher = watcher
        self._viewer = viewer
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        direct = scope.get(_DIRECT, send)
        gone = asyncio.create_task(_close_when_gone(self._viewer, receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": frames.RETRY, "more_body": True})
            await _Following(self._viewer, direct).run()
            await direct({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._watcher.leave(self._viewer)


class _Following:
    """Sends one viewer what it lacks: at once where its connection takes it, else in a task that waits for that."""

    def __init__(self, viewer: Viewer, send: Send) -> None:
        self._viewer, self._send = viewer, send
        self._loop = asyncio.get_running_loop()
        #: The server's word on whether the connection takes more now (`write_paused`); None where it says nothing.
        self._flow: Any = getattr(getattr(send, "__self__", None), "flow", None)
        #: While the task has something that is not sent yet, nothing may overtake it.
        self._is_sending = False

    async def run(self) -> None:
        """Until the viewer is closed."""
        viewer = self._viewer
        if hasattr(self._flow, "write_paused"):
            viewer.push = self._push
        while not viewer.is_closed:
            await viewer.wait(self._loop)
            self._is_sending = True
            if lacking := self._lacking():
                # Waits here while the browser is slow: then it gets all it lacks at once, however much that
                # is.
                await self._send(_part(lacking))
            self._is_sending = False

    def _lacking(self) -> bytes:
        return self._viewer.collect(self._loop.time(), keep_alive_seconds=KEEP_ALIVE_SECONDS)

    def _push(self) -> bool:
        """See `Viewer.push`. Called by who reads for all viewers: never waits, never raises."""
        if self._is_sending or self._flow.write_paused:
            return False
        try:
            if lacking := self._lacking():
                # A connection that is not paused is written to without waiting: one step is all of it.
                self._send(_part(lacking)).send(None)  # type: ignore[attr-defined]
                raise RuntimeError("the server waits though its connection is not paused")
        except StopIteration:
            pass
        except Exception:
            log.exception("a viewer is closed by our own fault; its browser comes again")
            self._viewer.close()
        return True


def _part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


class DirectSend:
    """The outermost layer: keeps the server's own `send`, by which a stream's words go past all layers between.

    Headers pass through them as ever. Each of the eight would be one more call for every word of every viewer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        scope[_DIRECT] = send
        await self._app(scope, receive, send)


async def _close_when_gone(viewer: Viewer, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.close()
