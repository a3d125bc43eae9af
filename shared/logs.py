"""Logs: one JSON object a line on stdout, with the ids of the request that a thread or task works on.

A line never holds a prompt, an answer or a key: log ids, counts, codes (`redaction.py` is the belt). `bound()` puts ids
on every line within it; the ids follow asyncio tasks too, being context variables.
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

#: The id of the HTTP request or WebSocket by which something came, as the proxy in front gave it.
HTTP_REQUEST_ID = "http_request_id"

_IDS: ContextVar[Mapping[str, str]] = ContextVar("naru_log_ids", default=MappingProxyType({}))
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Time (UTC), level, part (which process), logger, message, the bound ids, `extra`, the error's traceback."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
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
    """Postgres's own messages quote the row that they complain about: only its code is kept of them."""
    while error is not None:
        if code := getattr(error, "pgcode", None):
            traceback = traceback.replace(str(error).rstrip(), f"SQLSTATE {code}")
        error = error.__cause__ or error.__context__
    return traceback


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Put these ids on every line logged within."""
    token = _IDS.set({**_IDS.get(), **{name: str(value) for name, value in ids.items()}})
    try:
        yield
    finally:
        _IDS.reset(token)


def bound_id(name: str) -> str:
    """The id that is on every line here under this name; empty where there is none."""
    return _IDS.get().get(name, "")


#: Whose modules may speak at DEBUG. At that level the libraries below write what passes through them: frames of the
#: page's WebSocket, requests to a provider, rows.
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
    # They log every call or task, at INFO; ours says the same with its ids.
    noisy_loggers = ("httpx2", "httpx", *SDKS, "aiohttp.access", "alembic", "celery.worker.strategy")
    for noisy in (*noisy_loggers, "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
