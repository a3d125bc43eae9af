"""The images' health check: one GET to a process of its own container; exit code 0 for a 2xx.

Docker restarts what has ended, not what is unhealthy, and a process that is frozen as a whole cannot end itself. So
with `--end-frozen-after N` the probe kills a worker that has taken connections and answered nothing for N probes on
end; the restart policy brings a new one, and its answers are taken over meanwhile. Everything else that a worker may
suffer from it sees by itself. Standard library only: it runs every few seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_SECONDS = 4.0
#: Instead of a status: nobody listens (it starts or ends); or somebody does, and says nothing.
ABSENT, SILENT = -1, 0
#: How often on end it was silent. The container's /tmp is its own, and empty at its start.
COUNT = Path("/tmp/naru-probe")  # noqa: S108
WORKER = [b"-m", b"workers"]


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument(
        "--end-frozen-after", type=int, metavar="N", help="kill a worker that was silent N times on end"
    )
    chosen = parser.parse_args(arguments)
    status, body = look(chosen.url)
    if chosen.end_frozen_after and count(is_silent=status == SILENT) >= chosen.end_frozen_after:
        end_worker(signal.SIGKILL)
    print(f"{status} {body[:500]}")  # noqa: T201 - `docker inspect` shows it
    return 0 if 200 <= status < 300 else 1


def look(url: str) -> tuple[int, str]:
    """Status and body, or ABSENT or SILENT and why."""
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


def count(*, is_silent: bool) -> int:
    """How often on end, this time included."""
    try:
        before = int(COUNT.read_text())
    except (OSError, ValueError):
        before = 0
    times = before + 1 if is_silent else 0
    COUNT.write_text(str(times))
    return times


def end_worker(number: signal.Signals) -> None:
    """Signal the container's worker: the process that was started as `python -m workers`."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or folder.name == "1":  # 1 is the container's init: it ends with its child
            continue
        try:
            words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            if words[-2:] == WORKER:
                os.kill(int(folder.name), number)
        except (OSError, ValueError):
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
