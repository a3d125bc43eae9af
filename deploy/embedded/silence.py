"""Detects a process that accepts connections but never answers: it is frozen, or its event loop is stuck.

A process that refuses a connection, closes it at once or answers 503 is busy, starting or ending, and is left alone. So
is one whose own limit of connections is used up.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach our loopback
LOOK_SECONDS = 2.0
NAP_SECONDS = 0.25  # between two checks whether the process still runs
ANSWER_SECONDS = 2.0
BUSY = 0.1  # share of one core. A frozen process uses none; one that is stuck waiting uses about 0.01


def is_silent(url: str) -> bool:
    """Return whether a GET gets no answer within ANSWER_SECONDS. An error or a closed connection is an answer."""
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
    """Return True once `url` has been silent and `pid` idle for `limit_seconds` straight; False if `is_over()` first.

    A process that uses the CPU is not frozen, however late it answers. It detects that itself (shared/wedge.py).
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
    """Return the CPU time of a process so far; 0 if it cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
