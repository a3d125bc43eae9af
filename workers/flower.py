"""`python -m workers.flower`: Flower, which answers to the same names as the page (shared/hosts.py).

Flower has no such option. Basic auth alone does not keep a stranger's page out: /metrics asks for no password, and a
browser that knows the password for a name sends it there. Options of Flower may follow, and FLOWER_* variables count.
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

#: For probes and Prometheus, which ask by a pod's address or a service's name. Nothing of a person is in them.
EXEMPT_PAGES = frozenset({"healthcheck", "metrics"})
MISDIRECTED = 421


class UnknownHost(RequestHandler):
    """Says which setting to change. Not logged: a stranger could fill the disk with it."""

    def prepare(self) -> None:
        """Refuse, whatever the method."""
        self.set_status(MISDIRECTED, "Misdirected Request")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(
            "Flower does not answer to this name. Use the address that you were given. If you run this Naru and the "
            "name is right, add it to NARU_ALLOWED_HOSTS and start Naru again.\n"
        )


class HostCheckingFlower(Flower):  # type: ignore[misc] # Flower ships no types
    """Flower, which looks at the Host header before anything else."""

    def __init__(self, *words: Any, **named: Any) -> None:
        """As Flower's."""
        super().__init__(*words, **named)
        self._known = KnownHosts(load_settings(), listens_on=self.options.address)
        prefix = (self.options.url_prefix or "").strip("/")
        self._exempt = {f"/{prefix}/{page}" if prefix else f"/{page}" for page in EXEMPT_PAGES}

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Choose the handler: tornado's router asks here for every request."""
        if request.path in self._exempt or self._known.knows(request.headers.get("Host")):
            return super().find_handler(request, **kwargs)
        return self.get_handler_delegate(request, UnknownHost)


def main() -> None:
    """Run Celery's command, whose Flower is ours."""
    flower.command.Flower = HostCheckingFlower
    sys.argv = ["celery", "-A", "workers.app:app", "flower", *sys.argv[1:]]
    celery()


if __name__ == "__main__":
    main()
