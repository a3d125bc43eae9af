"""`python -m workers.probe`: a container's health check of its worker. Exit code 0 when /healthz says that it is well.

With `--end-frozen-after SECONDS` it also ends a worker that takes connections and answers none for so long: one that
is frozen as a whole cannot end itself, and compose does not restart what is unhealthy, only what ended. So the
container's first process must not be the worker (compose: `init: true`): the first one cannot be killed from within.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import signal
import sys
import time
from pathlib import Path

from shared.errors import SettingsError
from shared.settings import load_settings

TRY_SECONDS = 3.0
#: TCP_LISTEN, as /proc/net/tcp writes it.
LISTENING = "0A"


def main() -> int:
    """0 well, 1 not well, 2 nothing to ask; the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m workers.probe", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--end-frozen-after", type=float, default=0.0, metavar="SECONDS")
    options = parser.parse_args()
    try:
        port = load_settings().worker_metrics_port
    except SettingsError as error:
        return _said(2, str(error))
    if port <= 0:
        return _said(2, "NARU_WORKER_METRICS_PORT is not set to a port: there is nothing to ask.")
    limit = time.monotonic() + options.end_frozen_after
    while True:
        try:
            status, body = _ask(port)
        except TimeoutError:
            if time.monotonic() < limit:
                continue
            return _said(1, _end_frozen(port) if options.end_frozen_after else "the worker does not answer")
        except (OSError, http.client.HTTPException) as error:
            return _said(1, f"nobody answers on port {port}: {type(error).__name__}")
        return 0 if status == 200 else _said(1, body)


def _ask(port: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TRY_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, answer.read(1000).decode(errors="replace")
    finally:
        connection.close()


def _end_frozen(port: int) -> str:
    """Kill the worker that holds the port; what was done, in words."""
    pid = _holder_of(port)
    if pid is None:
        return "the worker does not answer, and is not this user's to end"
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        return f"the worker does not answer, and cannot be ended: {error.strerror}"
    return "the worker did not answer and was ended"


def _holder_of(port: int) -> int | None:
    """The process that listens on a port here, by /proc: the socket's inode, then who has it open."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {
        f"socket:[{row[9]}]" for row in rows if row[3] == LISTENING and int(row[1].partition(":")[2], 16) == port
    }
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if any(str(each.readlink()) in sockets for each in folder.iterdir()):
                return int(folder.parent.name)
    return None


def _said(code: int, reason: str) -> int:
    sys.stderr.write(f"probe: {reason}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
