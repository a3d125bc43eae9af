"""Ports on this machine: find a free one, and check that the page can listen on the chosen one."""

from __future__ import annotations

import contextlib
import socket


class PortTaken(Exception):
    """The page cannot listen there; the message says why and what to do."""


def check_port(host: str, port: int) -> None:
    """Raise PortTaken if the page could not listen on `host` and `port`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, TypeError, UnicodeError) as error:  # the latter two for a name that no host can have
            reason = getattr(error, "strerror", None) or "no such host"
            raise PortTaken(
                f"the page cannot listen on {host}:{port} ({reason}).\n"
                "      Choose another with --port N, or any free one with --port 0."
            ) from None


def free_port() -> int:
    """Return a loopback port that is free now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
