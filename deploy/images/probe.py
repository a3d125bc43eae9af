"""The images' health check: one GET to the process of its container. Exit code 0 for a 2xx.

Docker restarts containers that end, not unhealthy ones, and a frozen process cannot end itself. So with
`--end-frozen-after N` the probe kills a web process or a worker that has accepted connections but not answered for N
probes in a row. The restart policy starts a new one, and other workers take over the answers. The processes detect all
other trouble themselves (shared/wedge.py). Uses the standard library only, because it runs every few seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_SECONDS = 4.0
#: A frozen process uses no CPU. One that uses more than this share of the time is only late.
LOOK_SECONDS, BUSY = 0.5, 0.1
#: Instead of a status: nothing listens (the process is starting or ending), or something listens but does not answer.
ABSENT, SILENT = -1, 0
#: Holds the number of silent probes in a row. A container has its own /tmp, which is empty at its start.
NOTES = Path(tempfile.gettempdir())
#: TCP_LISTEN, as /proc/net/tcp writes it.
LISTENING = "0A"


def main(arguments: Sequence[str]) -> int:
    """Probe, print the result and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument(
        "--end-frozen-after", type=int, metavar="N", help="kill a process that was silent N times in a row"
    )
    chosen = parser.parse_args(arguments)
    status, body = look(chosen.url)
    if chosen.end_frozen_after:
        port = urllib.parse.urlsplit(chosen.url).port or 80
        if count(port, is_silent=status == SILENT and not is_busy(port)) >= chosen.end_frozen_after:
            body += "; it was ended" if signal_listener(port, signal.SIGKILL) else "; it could not be ended"
    print(f"{status} {body[:500]}")  # `docker inspect` shows it
    return 0 if 200 <= status < 300 else 1


def look(url: str) -> tuple[int, str]:
    """Return the status and body, or ABSENT or SILENT and the reason."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, answer.read(10_000).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(10_000).decode("utf-8", "replace")
    except TimeoutError:
        return SILENT, f"no answer within {TIMEOUT_SECONDS:g} s"
    except urllib.error.URLError as error:
        is_silent = isinstance(error.reason, TimeoutError)
        return SILENT if is_silent else ABSENT, f"no answer: {error.reason}"
    except OSError as error:
        return ABSENT, f"no answer: {error}"


def is_busy(port: int) -> bool:
    """Return whether the process that listens on the port uses the CPU. Then it is late, not frozen."""
    pid = listener_of(port)
    if pid is None:
        return False
    before = cpu_seconds(pid)
    time.sleep(LOOK_SECONDS)
    return cpu_seconds(pid) - before > BUSY * LOOK_SECONDS


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def count(port: int, *, is_silent: bool) -> int:
    """Count the silent probes in a row, including this one."""
    note = NOTES / f"naru-probe-{port}"
    try:
        before = int(note.read_text())
    except (OSError, ValueError):
        before = 0
    times = before + 1 if is_silent else 0
    note.write_text(str(times))
    return times


def signal_listener(port: int, number: signal.Signals) -> bool:
    """Signal the process that listens on the port; return False if there is none that we may signal."""
    pid = listener_of(port)
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def listener_of(port: int) -> int | None:
    """Find the process that listens on the port: look up the socket's inode, then the process that has it open."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {
        f"socket:[{row[9]}]" for row in rows if row[3] == LISTENING and int(row[1].partition(":")[2], 16) == port
    }
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(each.readlink()) in sockets for each in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:  # it has ended, or belongs to another user
            continue
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
