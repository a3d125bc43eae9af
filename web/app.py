"""The ASGI app: Streamlit's, with our routes, our middleware and our lifespan around it.

`web.app:app` is the only thing made at import, and needs the settings: import it from a process that serves
the page (`python -m web` does), not from anywhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from streamlit.web import bootstrap

from shared.settings import Settings
from web.http_id import HttpIdMiddleware
from web.identity import IdentityMiddleware
from web.routes import make_routes
from web.routes.answers import Refusal, apologise, refuse
from web.routes.events import DirectSend
from web.routes.guard import GuardMiddleware
from web.runtime import current_runtime


def streamlit_options(settings: Settings) -> dict[str, Any]:
    """What Streamlit must be told before its app is made; looks are in `.streamlit/config.toml`."""
    return {
        # The same in every web process, else an upload or a sign-in made by one is unknown to the next.
        "server.cookieSecret": sha256(b"naru.streamlit:" + settings.secret_key.encode()).hexdigest(),
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.headless": True,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "global.developmentMode": False,
    }


@asynccontextmanager
async def _lifespan(_: st.App) -> AsyncIterator[None]:
    runtime = current_runtime()
    await runtime.start()
    try:
        yield
    finally:
        await runtime.stop_all()


def make_app() -> st.App:
    """Set Streamlit up and make the app."""
    bootstrap.load_config_options(streamlit_options(current_runtime().settings))
    return st.App(
        Path(__file__).with_name("page.py"),
        routes=make_routes(),
        middleware=[Middleware(GuardMiddleware), Middleware(IdentityMiddleware)],
        lifespan=_lifespan,
        exception_handlers={Refusal: refuse, Exception: apologise},
    )


app = DirectSend(HttpIdMiddleware(make_app()))
