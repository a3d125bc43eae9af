"""One server as a process: it starts, is killed, starts again on the same port, and always ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from tests.patience import patient

#: LiteLLM imports for 8 s on our machine.
READY_SECONDS = 60.0
END_SECONDS = 10.0
CONNECTIONS = Path("/proc/net/tcp")
#: TCP states, as the kernel numbers them.
_ESTABLISHED, _CLOSE_WAIT = "01", "08"
_OPENER = build_opener(ProxyHandler({}))


class NotReady(Exception):
    """The server did not come up; the message has the end of its log."""


class Running:
    """A server that listens on a free port of the loopback from `__enter__` to `__exit__`."""

    def __init__(
        self, name: str, command: Callable[[int], Sequence[str]], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command, self._environment = command(self.port), environment
        self.folder, self._log = folder, folder / f"{name}.log"
        #: The server behind this one, if this is a gateway.
        self.behind: Running | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start the process and wait until it answers; return the seconds that this took. Raises NotReady."""
        self.kill()  # one that a step could not end
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env={**_plain_environment(self.folder), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while self.status("/health") in (None, 503):  # llama.cpp answers 503 while it loads its model
            if self._process.poll() is not None or time.monotonic() - began > patient(READY_SECONDS):
                end = self._log.read_text(errors="replace")[-1500:]
                self.kill()
                raise NotReady(f"it does not listen; the end of its log: {printable(end)}")
            time.sleep(0.1)
        return time.monotonic() - began

    def status(self, path: str) -> int | None:
        """Return the status of a GET; None if nothing answers."""
        try:
            with _OPENER.open(Request(self.url + path), timeout=5) as reply:
                return int(reply.status)
        except HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return None

    def get(self, path: str, headers: Mapping[str, str]) -> bytes:
        """Return the body of a GET. Raises OSError."""
        with _OPENER.open(Request(self.url + path, headers=dict(headers)), timeout=5) as reply:
            return bytes(reply.read())

    @property
    def pid(self) -> int:
        """The id of the process, 0 if there is none."""
        return self._process.pid if self._process else 0

    @property
    def is_up(self) -> bool:
        """Whether the process was started and not ended."""
        return self._process is not None

    def kill(self) -> None:
        """End the process and its children at once, as a crash does."""
        self._end(signal.SIGKILL)

    def open_connections(self) -> int | None:
        """Return how many connections the server still holds; None where the system does not tell."""
        if not CONNECTIONS.exists():
            return None
        rows = (line.split() for line in CONNECTIONS.read_text().splitlines()[1:])
        return sum(
            int(row[1].rpartition(":")[2], 16) == self.port and row[3] in (_ESTABLISHED, _CLOSE_WAIT) for row in rows
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        with suppress(ProcessLookupError):  # children that outlived it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(END_SECONDS)


def printable(text: str) -> str:
    """Return a foreign text without control characters, which could do things to a terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _plain_environment(folder: Path) -> dict[str, str]:
    """Return an environment without the user's settings and keys; a proxy would lead off the loopback."""
    return {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
