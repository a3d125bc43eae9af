"""Our own routes beside Streamlit's, and the middleware around both.

    events   GET  /api/conversations/{id}/events    what happens in a conversation, as server-sent events
    stop     POST /api/requests/{id}/stop
    front    GET  / /page.css /*.js /favicon.png    what the browser has before Streamlit draws
    manifest GET  /manifest.json /favicon.ico    what a browser asks for beside the page
    lost     GET  everything that is no page: a 404 with a way home
    health   GET  /healthz /readyz /metrics
    guard    headers on every answer; who may call from where
    answers  how a refusal is written

What they do is done in `web/watch/` and `shared/`.
"""

from starlette.routing import BaseRoute, Route

from web.api.events import events
from web.api.front import colours, early, icon, live, page, shell, stylesheet
from web.api.health import health, measurements, readiness
from web.api.lost import Lost
from web.api.manifest import favicon, manifest
from web.api.stop import stop


def make_routes() -> list[BaseRoute]:
    """All of them, for the app."""
    return [
        Route("/api/conversations/{conversation_id}/events", events, methods=["GET"]),
        Route("/api/requests/{request_id}/stop", stop, methods=["POST"]),
        Route("/", page, methods=["GET"]),
        Route("/page.css", stylesheet, methods=["GET"]),
        Route("/shell.js", shell, methods=["GET"]),
        Route("/early.js", early, methods=["GET"]),
        Route("/live.js", live, methods=["GET"]),
        Route("/colours.js", colours, methods=["GET"]),
        Route("/favicon.png", icon, methods=["GET"]),
        Route("/favicon.ico", favicon, methods=["GET"]),
        Route("/manifest.json", manifest, methods=["GET"]),
        Route("/healthz", health, methods=["GET"]),
        Route("/readyz", readiness, methods=["GET"]),
        Route("/metrics", measurements, methods=["GET"]),
        Lost(),
    ]
