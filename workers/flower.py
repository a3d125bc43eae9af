"""`python -m workers.flower`: Flower with the page's check of the Host header (shared/hosts.py).

Flower itself has no such option. Basic auth alone does not stop DNS rebinding: /metrics needs no password, and a
browser sends a saved password to any page with that name. Accepts Flower's own options and FLOWER_* variables.
"""

from __future__ import annotations

import sys
from typing import Any

import flower.command
from celery.__main__ import main as celery
from flower.app import Flower
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from shared.hosts import KnownHosts
from shared.settings import load_settings

#: Probes and Prometheus request these by a pod's address or a service's name. They contain no personal data.
EXEMPT_PAGES = frozenset({"healthcheck", "metrics"})
MISDIRECTED = 421


class UnknownHost(RequestHandler):
    """Answers 421 and names the setting to change. Does not log: a stranger could fill the disk."""

    def prepare(self) -> None:
        """Refuse the request, whatever its method."""
        self.set_status(MISDIRECTED, "Misdirected Request")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(
            "Flower does not answer to this name. Use the address that you were given. If you run this Naru and the "
            "name is right, add it to NARU_ALLOWED_HOSTS and start Naru again.\n"
        )


class HostCheckingFlower(Flower):  # type: ignore[misc] # Flower ships no types
    """Flower with a check of the Host header before any other handler."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known = KnownHosts(load_settings(), listens_on=self.options.address)
        prefix = (self.options.url_prefix or "").strip("/")
        self._exempt = {f"/{prefix}/{page}" if prefix else f"/{page}" for page in EXEMPT_PAGES}

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return the handler of a request; tornado's router calls this for each."""
        if request.path in self._exempt or self._known.knows(request.headers.get("Host")):
            return super().find_handler(request, **kwargs)
        return self.get_handler_delegate(request, UnknownHost)


def main() -> None:
    """Run Celery's `flower` command with `HostCheckingFlower`."""
    flower.command.Flower = HostCheckingFlower
    sys.argv = ["celery", "-A", "workers.app:app", "flower", *sys.argv[1:]]
    celery()


if __name__ == "__main__":
    main()
