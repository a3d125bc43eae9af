"""Tests that a web process that runs but does not serve ends or is ended, with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded import parts, silence
from deploy.embedded.processes import ROOT, Command
from deploy.embedded.supervisor import Part, Supervisor
from shared.wedge import WEDGED
from tests.faults.fault_routes import HARM_PATH
from tests.patience import patient, slowness
from tests.stack import NO_PROXY, Process, Stack, free_port, get, wait_until

#: Below the real limits, to keep the tests short, but longer than the stalls of a loaded machine.
SHORT: dict[str, Any] = {"web_wedged_seconds": 3 * slowness(), "web_check_seconds": 1}


@pytest.fixture
def web(stack: Stack) -> Process:
    """Start a web process that a test can harm; wait until it is healthy."""
    process = stack._listening("web", "tests.faults.fault_routes", host="127.0.0.1", port="{port}", **SHORT)
    wait_until(lambda: get(process.url + "/healthz")[0] == 200, seconds=30, what="web is well")
    return process


def harm(web: Process, kind: str) -> None:
    body = json.dumps({"kind": kind}).encode()
    with NO_PROXY.open(urllib.request.Request(web.url + HARM_PATH, data=body), timeout=patient(10)):
        pass


def not_well(web: Process) -> list[str]:
    """Return the unhealthy parts that /healthz names."""
    status, body = get(web.url + "/healthz")
    return json.loads(body)["not_well"] if status == 503 else []


@pytest.mark.parametrize("kind", ["pages", "streams"])
def test_process_that_answers_but_does_not_serve_ends(web: Process, kind: str) -> None:
    harm(web, kind)
    wait_until(lambda: kind in not_well(web), seconds=60, what="/healthz names it")
    assert web.wait(seconds=40) == WEDGED
    assert f'"not_well": ["{kind}"]' in web.log_text()
    assert "most recent call first" in web.log_text(), "the log has each thread's stack"


def test_process_with_a_blocked_loop_ends(web: Process) -> None:
    harm(web, "loop")
    assert web.wait(seconds=60) == WEDGED
    assert '"loop"' in web.log_text()


def test_process_without_its_servers_stays_healthy(own_stack: Stack) -> None:
    web = own_stack.start_web(**SHORT)
    own_stack.servers.redis.kill()
    own_stack.servers.postgres.freeze()
    limit = time.monotonic() + 3 * SHORT["web_wedged_seconds"]
    while time.monotonic() < limit:
        assert get(web.url + "/healthz")[0] == 200
        time.sleep(0.5)
    assert web.running


def test_frozen_web_is_ended_and_restarted(stack: Stack, tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "up").mkdir()
    supervisor = Supervisor(logs=tmp_path / "up", pids=tmp_path / "pids", say=lines.append)
    port = free_port()
    environ = stack.environ(host="127.0.0.1", port=port, **SHORT)
    part = parts.web(environ, url=f"http://127.0.0.1:{port}")

    async def story() -> None:
        try:
            await supervisor.start(part)
            os.kill(supervisor._children["web"].pid, signal.SIGSTOP)
            while "  web is back" not in lines:  # noqa: ASYNC110 - another process makes it true
                await asyncio.sleep(0.05)
        finally:
            supervisor.kill()

    asyncio.run(asyncio.wait_for(story(), patient(90)))
    assert f"  web did not answer for {part.silent_seconds:g} s; ending it" in lines
    assert "  web ended (signal 9); starting it again in 0.5 s" in lines


def test_container_check_ends_a_frozen_web(web: Process, tmp_path: Path) -> None:
    argv = [sys.executable, str(ROOT / "deploy/images/probe.py"), web.url + "/readyz", "--end-frozen-after", "2"]

    def probe() -> str:
        environ = os.environ | {"TMPDIR": str(tmp_path)}
        return subprocess.run(argv, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=patient(30)).stdout

    assert probe().startswith("200 ")
    web.freeze()
    assert "it was ended" not in probe(), "one silent probe ends nothing"
    assert "it was ended" in probe(), "the second silent probe in a row ends web"
    assert web.wait(seconds=10) == -9


def test_refused_and_closed_connections_are_no_silence() -> None:
    """A web process with no connections left refuses or closes new ones; it is not frozen."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/healthz"
        assert not silence.is_silent(url), "nothing listens"
        listener.listen(1)
        assert silence.is_silent(url), "the kernel accepts, nothing answers"


#: A program that answers 503, and one that never answers and computes half of the time until a signal puts it to
#: sleep.
ANSWERS_BADLY = """
import http.server as h
class H(h.BaseHTTPRequestHandler):
    def do_GET(self): self.send_error(503)
h.HTTPServer(("127.0.0.1", {port}), H).serve_forever()
"""
COMPUTES = """
import signal, socket, time
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))
s = socket.create_server(("127.0.0.1", {port}))
while True:
    until = time.process_time() + 0.05
    while time.process_time() < until: pass
    time.sleep(0.05)
"""


@pytest.mark.parametrize(("code", "ends"), [(ANSWERS_BADLY, False), (COMPUTES, True)])
def test_only_idle_silence_ends_a_part(tmp_path: Path, code: str, ends: bool) -> None:
    port = free_port()
    lines: list[str] = []
    (tmp_path / "up").mkdir()
    supervisor = Supervisor(logs=tmp_path / "up", pids=tmp_path / "pids", say=lines.append)
    part = Part(
        command=Command(
            name="web", argv=(sys.executable, "-I", "-c", code.replace("{port}", str(port))), environ=dict(os.environ)
        ),
        is_ready=lambda _: parts.listens(port),
        answers_at=f"http://127.0.0.1:{port}/healthz",
        silent_seconds=1,
    )

    async def story() -> None:
        try:
            await supervisor.start(part)
            child = supervisor._children["web"]
            await asyncio.sleep(8)
            assert child.poll() is None, "a part that answers 503 or computes is not ended"
            if ends:
                child.send_signal(signal.SIGUSR1)
                while not any("did not answer" in line for line in lines):  # noqa: ASYNC110 - a thread appends the line
                    await asyncio.sleep(0.05)
        finally:
            supervisor.kill()

    asyncio.run(asyncio.wait_for(story(), patient(60)))
    assert any("did not answer" in line for line in lines) == ends
