"""NARU_AUDIT_LOG: write events to stdout, or to a syslog server as RFC 5424 messages with the event as JSON."""

from __future__ import annotations

import logging
import socket
import sys
from logging.handlers import SysLogHandler
from typing import Protocol

from shared.addresses import syslog_address
from shared.audit.events import Event


class Sender(Protocol):
    """Writes one event; raises OSError when it cannot."""

    def send(self, event: Event) -> None:
        """Write the event."""

    def close(self) -> None:
        """Close the connection."""


def sender_for(target: str) -> Sender:
    """Return the sender for a value of NARU_AUDIT_LOG other than off. Raises OSError for an unknown host."""
    return _Stdout() if target == "stdout" else _Syslog(syslog_address(target))


class _Stdout:
    def send(self, event: Event) -> None:
        sys.stdout.write(event.json_line() + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        pass


class _Handler(SysLogHandler):
    """Raises errors instead of writing them to stderr."""

    append_nul = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - as logging has it
        """Raise the error that is being handled."""
        raise  # noqa: PLE0704 - logging calls this in its own except clause


class _Syslog:
    def __init__(self, address: str | tuple[str, int]) -> None:
        self._handler = _Handler(address, facility=SysLogHandler.LOG_AUTH)
        self._host = socket.gethostname()

    def send(self, event: Event) -> None:
        # 1: the version of RFC 5424. Then time, host, program, process, kind, structured data.
        head = f"1 {event.at.isoformat()} {self._host} naru - {event.kind} -"
        line = logging.LogRecord("naru.audit", logging.INFO, "", 0, f"{head} {event.json_line()}", None, None)
        self._handler.emit(line)

    def close(self) -> None:
        self._handler.close()
