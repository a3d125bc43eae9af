"""Several keys or addresses of one provider: spread by load, and no call to a member that rests."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from shared import errors
from tests.providers.asking import Answer, Simulator, ask
from tests.providers.conftest import ROOT
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.pool import Pool


@contextmanager
def running(log: Path, script: str = "") -> Iterator[Simulator]:
    """Run a simulator with a log of its own. The options of the script hold for every question."""
    argv = [sys.executable, "-m", "workers.simulator", "--pace", "0", "--first-token", "0", "--log", str(log)]
    argv += ["--script", script] if script else []
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Simulator(process.stdout.readline().strip().rpartition(" ")[2], log)
        process.terminate()


@pytest.fixture
def simulators(tmp_path: Path) -> Iterator[list[Simulator]]:
    with ExitStack() as all_three:
        yield [all_three.enter_context(running(tmp_path / f"{n}.jsonl")) for n in range(3)]


def calls(simulator: Simulator) -> int:
    lines = simulator.log.read_text("utf-8").splitlines() if simulator.log.exists() else []
    return len([line for line in lines if json.loads(line)["event"] == "start"])


def answers(urls: list[str], *messages: str, at_once: bool = False) -> list[Answer]:
    """Ask a pool at these addresses."""

    async def act() -> list[Answer]:
        pool = Pool([OpenAIProvider(api_key="sk", base_url=f"{url}/v1") for url in urls])
        try:
            if at_once:
                return list(await asyncio.gather(*(ask(pool, each) for each in messages)))
            return [await ask(pool, each) for each in messages]
        finally:
            await pool.close()

    return asyncio.run(act())


def unused() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_calls_go_to_the_least_loaded_member(simulators: list[Simulator]) -> None:
    slow = ["[[sim: tokens=20 pace=40]] Tell me."] * 9
    found = answers([each.url for each in simulators], *slow, at_once=True)
    assert all(each.error is None and each.text for each in found)
    assert [calls(each) for each in simulators] == [3, 3, 3]


def test_member_that_cannot_be_reached_rests(simulators: list[Simulator], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="workers.providers.pool")
    found = answers([unused(), simulators[0].url], *["[[sim: tokens=3]] Tell me."] * 4)
    assert all(each.error is None and each.text for each in found)
    assert calls(simulators[0]) == 4
    assert len([record for record in caplog.records if "rests" in record.message]) == 1


@pytest.mark.parametrize("fault", ["401", "429", "503", "quota"])
def test_refused_member_gives_way_before_any_text(simulators: list[Simulator], fault: str) -> None:
    url = simulators[0].url
    (found,) = answers([url, url], f"[[sim: tokens=3 fault={fault} times=1 key={fault}]] Tell me.")
    assert (found.error, bool(found.text)) == (None, True)


@pytest.mark.parametrize("fault", ["500", "400", "filter"])
def test_error_of_the_question_meets_one_member(simulators: list[Simulator], fault: str) -> None:
    (found,) = answers([each.url for each in simulators], f"[[sim: fault={fault}]] Tell me.")
    assert found.error is not None
    assert [calls(each) for each in simulators] == [1, 0, 0]


@pytest.mark.parametrize("fault", ["500", "503", "404", "html", "end at=0", "eof at=0"])
def test_member_that_fails_fast_does_not_take_all_calls(
    simulators: list[Simulator], tmp_path: Path, fault: str
) -> None:
    """Its calls are soon over, so it always has the fewest."""
    slow = "[[sim: tokens=20 pace=20]] Tell me."

    async def act(urls: list[str]) -> list[Answer]:
        pool = Pool([OpenAIProvider(api_key="sk", base_url=f"{url}/v1") for url in urls])
        try:
            return [await ask(pool, "Tell me."), *await asyncio.gather(*(ask(pool, slow) for _ in range(6)))]
        finally:
            await pool.close()

    with running(tmp_path / "broken.jsonl", f"fault={fault}") as broken:
        first, *others = asyncio.run(act([broken.url, simulators[0].url, simulators[1].url]))
    assert all(each.error is None and each.text for each in others)
    assert calls(broken) == 1
    # Only a refusal goes on to the next member: anything else may have been billed.
    assert bool(first.text) == (fault == "503")
    assert calls(simulators[0]) + calls(simulators[1]) == (7 if fault == "503" else 6)


def test_error_after_text_is_not_asked_again(simulators: list[Simulator]) -> None:
    asked = "[[sim: tokens=9 fault=error at=2 type=rate_limit_error code=rate_limit_exceeded]] Tell me."
    (found,) = answers([each.url for each in simulators], asked)
    assert isinstance(found.error, errors.RateLimited)
    assert found.text
    assert [calls(each) for each in simulators] == [1, 0, 0]


def test_members_that_all_refuse_are_each_asked_once(simulators: list[Simulator]) -> None:
    (found,) = answers([each.url for each in simulators], "[[sim: fault=401]] Tell me.")
    assert isinstance(found.error, errors.AuthFailed)
    assert [calls(each) for each in simulators] == [1, 1, 1]


def test_pool_of_resting_members_is_still_asked(simulators: list[Simulator]) -> None:
    first, second = answers(
        [each.url for each in simulators], "[[sim: fault=401]] Tell me.", "[[sim: tokens=3]] Tell me."
    )
    assert isinstance(first.error, errors.AuthFailed)
    assert (second.error, bool(second.text)) == (None, True)


def test_member_with_nothing_left_rests(simulators: list[Simulator]) -> None:
    urls = [each.url for each in simulators[:2]]
    found = answers(urls, "[[sim: tokens=3 left=0 reset=60]] Tell me.", *["[[sim: tokens=3]] Tell me."] * 3)
    assert all(each.error is None for each in found)
    assert [calls(each) for each in simulators[:2]] == [1, 3]
