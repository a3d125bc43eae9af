"""Fixtures: the simulator as a real process, and the two wire formats."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.asking import Simulator, Wire

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Start one simulator for the session (per xdist process), on a free port."""
    log = tmp_path_factory.mktemp("simulator") / "calls.jsonl"
    argv = [sys.executable, "-m", "workers.simulator", "--pace", "0", "--first-token", "0"]
    with subprocess.Popen([*argv, "--log", str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().rpartition(" ")[2]
        yield Simulator(url, log)
        process.terminate()
        assert process.wait(5) == 0


@pytest.fixture(params=["openai", "anthropic"])
def wire(request: pytest.FixtureRequest, simulator: Simulator) -> Wire:
    """One of the two wire formats; the contract is the same for both."""
    return Wire(request.param, simulator)
