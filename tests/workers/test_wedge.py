"""Tests that a worker that runs but does not work is detected and restarted, with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deploy.embedded import parts
from deploy.embedded.processes import ROOT
from deploy.embedded.supervisor import Supervisor
from shared.queue import OLD_QUEUE, make_celery
from shared.tables import Status
from shared.wedge import WEDGED
from tests.crash.person import Person
from tests.patience import patient, slowness
from tests.stack import SHORT_LEASES, Stack, free_port, get, wait_until


@pytest.fixture
def port(stack: Stack) -> int:
    """Set short limits; return the port of the worker's health and metrics."""
    port = free_port()
    stack.configure(**SHORT_LEASES, wedged_seconds=1.5 * slowness(), grace_seconds=3, worker_metrics_port=port)
    return port


def probe(port: int, tmp_path: Path, *words: str) -> tuple[int, str]:
    """Run a container's health check; return its exit code and output."""
    argv = [sys.executable, str(ROOT / "deploy/images/probe.py"), f"http://127.0.0.1:{port}/healthz", *words]
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(argv, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=patient(30))
    return done.returncode, done.stdout


def cancel_consumer(stack: Stack) -> None:
    """Make the worker take no more hints while it still answers pings, as after a failed reconnection."""
    app = make_celery(stack.settings)
    with app.connection_for_write() as connection:
        replies = app.control.cancel_consumer(OLD_QUEUE, connection=connection, reply=True, timeout=patient(5), limit=1)
    assert replies, "no worker replied"


def well(port: int) -> dict[str, bool]:
    """Return the health of each part by name; empty without a reply."""
    status, body = get(f"http://127.0.0.1:{port}/healthz")
    return json.loads(body) if status else {}


def test_worker_that_stops_consuming_is_restarted(stack: Stack, engine: Engine, port: int, tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "up").mkdir()
    supervisor = Supervisor(logs=tmp_path / "up", pids=tmp_path / "pids", say=lines.append)
    stack.start_simulator()
    worker = parts.worker(stack.environ(), number=1, settings=stack.settings)

    async def story() -> None:
        try:
            await supervisor.start(worker)
            await supervisor.blocking(partial(cancel_consumer, stack))
            await supervisor.blocking(
                partial(wait_until, lambda: well(port).get("consuming") is False, what="/healthz reports it")
            )
            while "  worker is back" not in lines:  # noqa: ASYNC110 - another process makes it true
                await asyncio.sleep(0.05)
            with Person(stack, engine) as person:
                asked = person.ask("[[sim: tokens=3]]")
                ended = await supervisor.blocking(partial(person.wait_end, asked))
            assert ended.status == Status.SUCCEEDED
        finally:
            supervisor.kill()

    asyncio.run(asyncio.wait_for(story(), patient(60)))
    assert f"  worker ended (exit code {WEDGED}); starting it again in 0.5 s" in lines
    log = (tmp_path / "up" / "worker.log").read_text()
    assert '"not_well": ["consuming"]' in log
    assert "most recent call first" in log, "the log has each thread's stack"


def test_worker_with_a_stalled_loop_exits(stack: Stack, engine: Engine, port: int) -> None:
    stack.start_simulator()
    worker = stack.run("worker", "-m", "tests.faults.harmed")
    wait_until(lambda: all(well(port).values()) and well(port), seconds=30, what="the worker is well")
    with Person(stack, engine) as person:
        person.ask("stall [[sim: tokens=500]]")
        assert worker.wait(seconds=15) == WEDGED
    assert '"not_well": ["loop"]' in worker.log_text()


def test_wedged_worker_hands_over_within_its_grace_time(stack: Stack, engine: Engine, port: int) -> None:
    stack.start_simulator()
    worker = stack.start_worker(grace_seconds=20, wedged_seconds=1.25 * slowness())
    with Person(stack, engine) as person:
        asked = person.ask("[[sim: tokens=240 pace=30]]")
        person.wait_text(asked)
        cancel_consumer(stack)
        assert worker.wait(seconds=25) == WEDGED, worker.log_text()[-2000:]
        assert person.row(asked).attempt == 1
        assert person.status(asked) == Status.SUCCEEDED, "the worker finished its answer"
    assert '"not_well": ["consuming"]' in worker.log_text()


def test_health_check_ends_a_frozen_worker(stack: Stack, port: int, tmp_path: Path) -> None:
    absent = probe(port, tmp_path, "--end-frozen-after", "1")
    assert absent[0] == 1
    assert "refused" in absent[1]
    worker = stack.start_worker()
    assert probe(port, tmp_path, "--end-frozen-after", "1")[0] == 0
    worker.freeze()
    assert probe(port, tmp_path)[0] == 1
    assert worker.running, "without the option the probe ends nothing"
    frozen = probe(port, tmp_path, "--end-frozen-after", "1")
    assert frozen == (1, "0 no answer within 4 s; it was ended\n")
    assert worker.wait(seconds=5) == -9
