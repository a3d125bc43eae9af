"""`python -m tests.faults.fault_routes`: the web process with two additional routes.

    POST /faults/submit  {"conversation_id", "text", "idempotency_key", "model"?, "regenerate"?, "die"?}
    POST /faults/harm    {"kind"}: one of HARMS; the process keeps running, but does not serve

/faults/submit calls `Runtime.submit`, as the page's callback does, so that a test can kill, disconnect or freeze web
meanwhile. `die` names the moment at which the process kills itself: "before_publish" is between the commit and the
hint. Everything else is `web/`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.runtime import get_instance

from shared.errors import NaruError, Unavailable
from shared.lifecycle import Question
from shared.people import Owner
from shared.settings import GUEST
from web.asgi.cookies import Cookies, SessionCookie
from web.asgi.identity import owner_of
from web.runtime import current_runtime

PATH = "/faults/submit"
HARM_PATH = "/faults/harm"
FOR_EVER_SECONDS = 600.0
threads = ThreadPoolExecutor(32, thread_name_prefix="script")


@cache
def cookies() -> Cookies:
    """Return the reader of browser cookies, with web's secret key."""
    return Cookies(current_runtime().settings.secret_key)


async def owner_of_browser(request: Request) -> Owner:
    """Return the owner in the request's cookies, as web's own app finds it. Raises Unavailable."""
    runtime, given = current_runtime(), request.headers.getlist("cookie")
    if runtime.settings.auth == GUEST:
        return owner_of(cookies().read(given, is_tls=False)) or Owner("nobody")
    token = SessionCookie(runtime.settings.secret_key).read(given, is_tls=False)
    found = None if token is None else await runtime.sign_ins.find(token)
    return Owner("nobody") if found is None else found.owner


class FaultRoutes:
    """An ASGI app that serves the two routes and passes everything else to web's own app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["path"] not in {PATH, HARM_PATH}:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if scope["path"] == HARM_PATH:
            kind = json.loads(await request.body())["kind"]
            await JSONResponse({})(scope, receive, send)
            asyncio.get_running_loop().call_later(0.1, HARMS[kind])
            return
        asked = json.loads(await request.body())
        try:
            owner = await owner_of_browser(request)
        except Unavailable as error:
            await JSONResponse({"error": error.code}, status_code=503)(scope, receive, send)
            return
        # Streamlit, too, runs callbacks in a thread.
        submitted = asyncio.get_running_loop().run_in_executor(threads, partial(submit, owner, asked))
        status, answer = await submitted
        await JSONResponse(answer, status_code=status)(scope, receive, send)


def stop_loop() -> None:
    """Block the event loop, as an endless computation does."""
    time.sleep(FOR_EVER_SECONDS)


def stop_pages() -> None:
    """Acquire a lock of Streamlit that every page's script needs, and never release it."""
    get_instance()._script_cache._lock.acquire()


def stop_streams() -> None:
    """Cancel the sweep, as a bug would, so that no page gets an answer."""
    watcher = current_runtime().watcher
    assert watcher is not None
    watcher._tasks[1].cancel()


HARMS = {"loop": stop_loop, "pages": stop_pages, "streams": stop_streams}


def submit(owner: Owner, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Submit as the page's callback does; return the HTTP status and the response body."""
    runtime = current_runtime()
    if asked.get("die") == "before_publish":
        send: Any = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        runtime.dispatcher.send = send  # type: ignore[method-assign]
    question = Question(
        owner=owner,
        conversation_id=UUID(asked["conversation_id"]),
        text=asked["text"],
        idempotency_key=asked["idempotency_key"],
        model=asked.get("model", ""),
        regenerate=bool(asked.get("regenerate")),
    )
    try:
        submitted = runtime.submit(question, client="")
    except NaruError as error:
        return 503 if isinstance(error, Unavailable) else 409, {"error": error.code}
    except Exception as error:  # noqa: BLE001 - the page shows an error then
        return 500, {"error": type(error).__name__}
    return 200, {"request_id": str(submitted.request_id), "is_new": submitted.is_new}


def main() -> int:
    """Run web's own command with these routes in front of its app."""
    frame = importlib.import_module("web.app")
    frame.app = FaultRoutes(frame.app)  # type: ignore[attr-defined]
    command: Any = importlib.import_module("web.__main__")
    return int(command.main())


if __name__ == "__main__":
    sys.exit(main())
