"""Finds a process that takes connections and answers nothing: frozen, or with an event loop that stands still.

Silence is less than a bad answer. A process that refuses a connection, closes it at once or answers 503 is busy, starts
or ends; it says so, and is left alone. So is one that strangers have filled with connections up to its own limit.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of our loopback
LOOK_SECONDS = 2.0
NAP_SECONDS = 0.25  # between two looks whether the process still runs
ANSWER_SECONDS = 2.0


def is_silent(url: str) -> bool:
    """Whether a GET is answered by nothing within ANSWER_SECONDS. An error and a closed connection are answers."""
    try:
        with DIRECT.open(url, timeout=ANSWER_SECONDS):
            return False
    except TimeoutError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, TimeoutError)
    except (OSError, http.client.HTTPException):
        return False


def outlasts(url: str, *, limit_seconds: float, is_over: Callable[[], bool]) -> bool:
    """Block until `url` was silent for `limit_seconds` on end (True), or `is_over` returns True (False)."""
    silent_since: float | None = None
    while not is_over():
        looked_at = time.monotonic()
        if not is_silent(url):
            silent_since = None
        elif silent_since is None:
            silent_since = looked_at
        elif time.monotonic() - silent_since >= limit_seconds:
            return not is_over()
        while time.monotonic() < looked_at + LOOK_SECONDS and not is_over():
            time.sleep(NAP_SECONDS)
    return False
