"""Finds a process that takes connections and answers nothing: frozen, or with an event loop that stands still.

Silence is less than a bad answer. A process that refuses a connection, closes it at once or answers 503 is busy, starts
or ends; it says so, and is left alone. So is one that strangers have filled with connections up to its own limit.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of our loopback
LOOK_SECONDS = 2.0
NAP_SECONDS = 0.25  # between two looks whether the process still runs
ANSWER_SECONDS = 2.0
BUSY = 0.1  # of a core: a frozen process takes none, and one whose loop waits for ever takes a hundredth


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


def outlasts(url: str, pid: int, *, limit_seconds: float, is_over: Callable[[], bool]) -> bool:
    """Block until `url` was silent and `pid` idle for `limit_seconds` on end (True), or `is_over` returns True (False).

    A process that computes is no frozen one, however late it answers: it judges itself (shared/wedge.py).
    """
    silent_since: float | None = None
    while not is_over():
        looked_at, before = time.monotonic(), cpu_seconds(pid)
        if is_silent(url):
            computed = cpu_seconds(pid) - before
            if silent_since is None or computed > BUSY * (time.monotonic() - looked_at):
                silent_since = looked_at
            elif time.monotonic() - silent_since >= limit_seconds:
                return not is_over()
        else:
            silent_since = None
        while time.monotonic() < looked_at + LOOK_SECONDS and not is_over():
            time.sleep(NAP_SECONDS)
    return False


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far; 0 where that cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
