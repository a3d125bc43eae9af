"""The ASGI app: Streamlit's, with our routes, middleware and lifespan.

Importing this module makes `app`, which needs the settings. Import it only from a process that serves the page, as
`python -m web` does.
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
    """Return the options to set before Streamlit's app is made; `.streamlit/config.toml` has the appearance."""
    return {
        # Every web process needs the same secret, so that one accepts uploads and sign-ins of another. Rotating the
        # key invalidates Streamlit's own cookies, which matter only while a page is open.
        "server.cookieSecret": sha256(b"naru.streamlit:" + keys_in(settings.secret_key)[0].encode()).hexdigest(),
        # Streamlit resumes a session only for the same values, so a session id is useless to another owner.
        "server.trustedUserHeaders": json.dumps({OWNER_HEADER: OWNER}),
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.headless": True,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        # With `rich` installed, Streamlit would write tracebacks past our log.
        "logger.enableRich": False,
        "global.developmentMode": False,
        # Use one thread per session for all clicks in turn, instead of a thread per click.
        "runner.fastReruns": False,
        # Do not collect garbage after each run; `web/asgi/sessions.py` does it once for many.
        "runner.postScriptGC": False,
        # In megabytes. Our own limit (`socket_message_bytes`) is lower, but this one also counts chunked messages.
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
    """Load and make everything that the first visitor would otherwise wait for, 0.2 s in all."""
    importlib.import_module("streamlit.emojis")  # compiles a pattern of 4,000 emojis
    prepare()


def make_app() -> st.App:
    """Configure Streamlit and make the app."""
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
    """Serve Streamlit's files and ours, at Streamlit's paths."""
    return Middleware(
        StaticFilesMiddleware,
        assets={
            **dict(assets_below(chunks.STREAMLIT / "static", "/static", are_hashed=True)),
            **dict(assets_below(Path(__file__).with_name("static"), "/app/static", are_hashed=False)),
        },
        prefixes=("/static/", "/app/static/"),
    )


app = DirectSend(HttpIdMiddleware(make_app()))
