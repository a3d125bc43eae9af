"""Starts Naru's processes by fork, from a process that has imported the libraries already.

Importing them takes about a second of CPU for each worker and web process, and the suite starts hundreds. The forked
process imports and runs our own code as `python -m` would. Only the tests of pytest use it: the bench and the fault rig
start real commands, as an operator does.

`Forks` is the client, in the test's process; `python -m tests.forks` is the server. It forks each time it is told to,
and tells the exit code of a child that has ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from deploy.embedded import processes
from tests.patience import patient

#: The modules that are started by fork.
MODULES = frozenset({"web", "workers", "tests.faults.harmed"})
#: What they import. The order does not matter, and a missing one only costs time.
LIBRARIES = (
    *(
        "aiohttp",
        "anyio",
        "celery.bin.celery",
        "celery.concurrency.thread",
        "celery.worker.consumer",
        "google.protobuf",
    ),
    *("hiredis", "httptools", "kombu.transport.redis", "openai.resources.chat", "prometheus_client"),
    *("psycopg2.extras", "redis.asyncio", "redis.sentinel", "sqlalchemy.dialects.postgresql.psycopg2", "starlette"),
    *("streamlit.web.bootstrap", "streamlit.web.server.starlette", "uvicorn", "uvloop", "websockets"),
)
_LARGEST = 1 << 20


class Forked:
    """A forked child, with the part of subprocess.Popen's interface that the tests use."""

    def __init__(self, pid: int, forks: Forks) -> None:
        self.pid = pid
        self._code: int | None = None
        self._forks = forks
        self._ended = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._exit_code(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises TimeoutExpired."""
        code = self._exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def _exit_code(self, timeout: float | None) -> int | None:
        with self._lock:
            if self._code is None:
                poller = select.poll()
                poller.register(self._ended, select.POLLIN)
                if not poller.poll(None if timeout is None else timeout * 1000):
                    return None
                self._code = self._forks.exit_code_of(self.pid)
                os.close(self._ended)
            return self._code


class Forks:
    """The client of one server, which starts with the first `fork` and ends with this process."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._orders, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()

    def fork(self, module: str, words: tuple[str, ...], *, environ: Mapping[str, str], log: IO[bytes]) -> Forked:
        """Start `python -m module words…`, with its output in `log`."""
        order = {"module": module, "words": words, "environ": dict(environ)}
        return Forked(self._ask(order, log.fileno()), self)

    def exit_code_of(self, pid: int) -> int:
        """Return the exit code of a child that has ended."""
        return self._ask({"ended": pid})

    def close(self) -> None:
        """End the server."""
        self._orders.close()
        self._theirs.close()
        if self._server is not None:
            self._server.wait(patient(10))

    def _ask(self, order: Mapping[str, Any], *descriptors: int) -> int:
        with self._lock:
            if self._server is None:
                self._server = _start_server(self._theirs)
                self._theirs.close()
            socket.send_fds(self._orders, [json.dumps(order).encode()], list(descriptors))
            reply = self._orders.recv(_LARGEST)
        assert reply, "the fork server has ended"
        return int(json.loads(reply))


def _start_server(orders: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (sys.executable, "-m", "tests.forks", str(orders.fileno())),
        env={**os.environ, "PYTHONPATH": str(processes.ROOT)},
        cwd=processes.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[orders.fileno()],
        start_new_session=True,
        preexec_fn=processes.die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it only makes system calls
    )


def _serve(orders: socket.socket) -> tuple[dict[str, Any], int]:
    """Carry out orders. Return in each forked child, with its order and the descriptor of its log."""
    while True:
        message, descriptors, *_ = socket.recv_fds(orders, _LARGEST, 1)
        if not message:
            sys.exit(0)
        order = json.loads(message)
        if "ended" in order:
            _, status = os.waitpid(order["ended"], 0)
            orders.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
            continue
        die_with_parent = processes.die_with_parent(signal.SIGKILL)
        pid = os.fork()
        if pid == 0:
            orders.close()
            if die_with_parent is not None:
                die_with_parent()
            return order, descriptors[0]
        os.close(descriptors[0])
        orders.send(json.dumps(pid).encode())


def _become(order: Mapping[str, Any], log: int) -> None:
    """Turn this process into the one that was ordered."""
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(order["environ"])
    sys.argv = [order["module"], *order["words"]]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


def main() -> None:
    """Import the libraries, then fork for each order."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        importlib.import_module(name)
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a library has started a thread, which a fork would lose"
    gc.freeze()
    _become(*_serve(orders))


if __name__ == "__main__":
    main()
