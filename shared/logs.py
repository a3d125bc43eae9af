"""Logs: one JSON object per line on stdout, with the ids of the request that a thread or task works on.

A line never holds a prompt, an answer or a key: log ids, counts and codes (`redaction.py` is the safety net). `bound()`
adds ids to every line within it. The ids are context variables, so asyncio tasks inherit them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from shared.redaction import may_hold_secrets, without_secrets
from shared.vendors import SDKS

#: The field for the id of an HTTP request or WebSocket, as the proxy in front set it.
HTTP_REQUEST_ID = "http_request_id"

_IDS: ContextVar[Mapping[str, str]] = ContextVar("naru_log_ids", default=MappingProxyType({}))
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats time (UTC), level, part (which process), logger, message, bound ids, `extra` and traceback as JSON."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "part": self._part,
            "logger": record.name,
            "message": record.getMessage(),
            **_IDS.get(),
        }
        line.update({key: value for key, value in record.__dict__.items() if key not in _STANDARD})
        if record.exc_info:
            line["traceback"] = _without_rows(self.formatException(record.exc_info), record.exc_info[1])
        text = json.dumps(line, ensure_ascii=False, default=str)
        return json.dumps(without_secrets(line), ensure_ascii=False) if may_hold_secrets(text) else text


def _without_rows(traceback: str, error: BaseException | None) -> str:
    """Replace Postgres's messages by their SQLSTATE, because they quote the row that they complain about."""
    while error is not None:
        if code := getattr(error, "pgcode", None):
            traceback = traceback.replace(str(error).rstrip(), f"SQLSTATE {code}")
        error = error.__cause__ or error.__context__
    return traceback


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Add these ids to every line that is logged within."""
    token = _IDS.set({**_IDS.get(), **{name: str(value) for name, value in ids.items()}})
    try:
        yield
    finally:
        _IDS.reset(token)


def bound_id(name: str) -> str:
    """Return the bound id of this name; empty where there is none."""
    return _IDS.get().get(name, "")


#: Packages that may log at DEBUG. At that level libraries log the data that they carry: frames of the page's WebSocket,
#: requests to a provider, rows.
_OURS = ("shared", "web", "workers", "deploy")


def configure(level: str, *, part: str) -> None:
    """Send every logger of this process to stdout as JSON; `part` says which process it is."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(part))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    wanted = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(wanted, logging.INFO))
    for ours in _OURS:
        logging.getLogger(ours).setLevel(wanted)
    # These log every call or task at INFO; our own lines say the same with our ids.
    noisy_loggers = ("httpx2", "httpx", *SDKS, "aiohttp.access", "alembic", "celery.worker.strategy")
    for noisy in (*noisy_loggers, "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
