"""The ASGI app: Streamlit's, with our routes, our middleware and our lifespan around it.

`web.app:app` is the only thing made at import, and needs the settings: import it from a process that serves
the page (`python -m web` does), not from anywhere else.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from streamlit.web import bootstrap

from shared.keys import keys_in
from shared.settings import Settings
from web.api import make_routes
from web.api.answers import Refusal, apologise, refuse
from web.api.guard import GuardMiddleware
from web.asgi import copies
from web.asgi.address import ClientAddressMiddleware
from web.asgi.direct_send import DirectSend
from web.asgi.hosts import HostMiddleware
from web.asgi.http_id import HttpIdMiddleware
from web.asgi.identity import OWNER_HEADER, IdentityMiddleware
from web.asgi.newcomers import NewcomerMiddleware
from web.asgi.sockets import SocketBounds
from web.asgi.static import StaticFilesMiddleware, assets_below
from web.runtime import current_runtime
from web.shell import chunks
from web.shell.document import prepare
from web.state import OWNER


def streamlit_options(settings: Settings) -> dict[str, Any]:
    """What Streamlit must be told before its app is made; looks are in `.streamlit/config.toml`."""
    return {
        # The same in every web process, else an upload or a sign-in made by one is unknown to the next. Of the newest
        # key: a rotation makes Streamlit's own cookies worthless, which nothing here uses beyond a page's life.
        "server.cookieSecret": sha256(b"naru.streamlit:" + keys_in(settings.secret_key)[0].encode()).hexdigest(),
        # Streamlit resumes a session only for the same values, so a session id leads nobody into another's session.
        "server.trustedUserHeaders": json.dumps({OWNER_HEADER: OWNER}),
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.headless": True,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        # Where `rich` is installed Streamlit would write tracebacks past our log.
        "logger.enableRich": False,
        "global.developmentMode": False,
        # One thread per session, which takes the next click when it is done; else each click begins another thread.
        "runner.fastReruns": False,
        # A collection of all garbage after each run; `web/asgi/sessions.py` does it once for many.
        "runner.postScriptGC": False,
        # Megabytes. Our own bound (`socket_message_bytes`) is lower; this one also counts what comes in parts.
        "server.maxWidgetStateSize": 1,
        "server.disconnectedSessionTTL": settings.kept_session_seconds,
    }


@asynccontextmanager
async def _lifespan(_: st.App) -> AsyncIterator[None]:
    runtime = current_runtime()
    await runtime.start()
    copies.make_in_background(chunks.of_a_visit)
    threading.Thread(target=_prepare_for_the_first_page, name="preparing", daemon=True).start()
    try:
        yield
    finally:
        await runtime.stop_all()


def _prepare_for_the_first_page() -> None:
    """Load and make what the first visitor after a start would wait for otherwise, 0.2 s in all."""
    importlib.import_module("streamlit.emojis")  # a pattern of 4,000 emojis, compiled at the first icon
    prepare()


def make_app() -> st.App:
    """Set Streamlit up and make the app."""
    bootstrap.load_config_options(streamlit_options(current_runtime().settings))
    return st.App(
        Path(__file__).with_name("page.py"),
        routes=make_routes(),
        middleware=[
            Middleware(GuardMiddleware),
            Middleware(HostMiddleware),
            _static_files(),
            Middleware(ClientAddressMiddleware),
            Middleware(NewcomerMiddleware),
            Middleware(IdentityMiddleware),
            Middleware(SocketBounds),
        ],
        lifespan=_lifespan,
        exception_handlers={Refusal: refuse, Exception: apologise},
    )


def _static_files() -> Middleware:
    """Streamlit's files and ours, at the paths at which Streamlit would serve them."""
    return Middleware(
        StaticFilesMiddleware,
        assets={
            **dict(assets_below(chunks.STREAMLIT / "static", "/static", are_hashed=True)),
            **dict(assets_below(Path(__file__).with_name("static"), "/app/static", are_hashed=False)),
        },
        prefixes=("/static/", "/app/static/"),
    )


app = DirectSend(HttpIdMiddleware(make_app()))
