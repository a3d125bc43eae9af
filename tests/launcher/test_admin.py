"""`./naru admin` on a real database: what it prints, and what it changes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from deploy.cli.admin import make_parser
from deploy.cli.operating import COMMANDS
from shared.operating.banner import read_banner
from shared.operating.requests import timeline
from shared.people import Owner
from shared.postgres.database import make_engine, transaction
from shared.tables import Status
from tests.launcher.test_ask import naru
from tests.stack import Stack
from tests.web.fake_worker import FakeWorker


@pytest.fixture
def engine(stack: Stack) -> Iterator[Engine]:
    """An engine on the stack's database."""
    made = make_engine(stack.settings, name="test")
    yield made
    made.dispose()


@pytest.fixture
def running(stack: Stack, engine: Engine) -> tuple[UUID, UUID]:
    """The ids of a request that runs, and of its worker."""
    worker = FakeWorker(stack, engine)
    worker.enter()
    _, request_id = worker.question(Owner.terminal())
    worker.claim(request_id)
    return request_id, worker.worker_id


def admin(stack: Stack, *words: object) -> str:
    """Run a command that succeeds, and return its output."""
    ran = naru(stack, "admin", *map(str, words))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refusal(stack: Stack, *words: object) -> str:
    """Run a command that fails, and return its one sentence."""
    ran = naru(stack, "admin", *map(str, words))
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    return ran.stderr


def test_show_lists_what_runs(stack: Stack, running: tuple[UUID, UUID]) -> None:
    request_id, worker_id = running
    printed = admin(stack, "show")
    assert f"worker {worker_id}  test 0  live, 1 of 4 at once" in printed
    assert f"request {request_id}  running  terminal" in printed
    assert "attempt 1 by test 0" in admin(stack, "request", request_id)
    assert "나루" not in printed


def test_stop_and_requeue_change_the_request(stack: Stack, engine: Engine, running: tuple[UUID, UUID]) -> None:
    request_id, _ = running
    assert "waits again" in admin(stack, "requeue", request_id)
    assert timeline(engine, request_id).request.status is Status.QUEUED
    assert "does not run" in refusal(stack, "requeue", request_id)
    assert "stopped" in admin(stack, "stop", request_id)
    assert "stopped" in admin(stack, "stop", request_id), "once more changes nothing"
    assert "there is no request" in refusal(stack, "stop", uuid4())


def test_drain_asks_the_worker_once(stack: Stack, engine: Engine, running: tuple[UUID, UUID]) -> None:
    assert "and ends" in admin(stack, "drain", running[1])
    with transaction(engine) as connection:
        asked = connection.execute(text("SELECT drain_requested_at FROM worker")).scalar_one()
    assert asked is not None
    assert "it was asked before" in refusal(stack, "drain", running[1])


def test_banner_is_set_and_cleared(stack: Stack, engine: Engine) -> None:
    assert "There is no banner" in admin(stack, "banner")
    admin(stack, "banner", "--en", "Down at \x1b[31mnoon", "--ko", "정오에 점검")
    found = read_banner(engine)
    assert found is not None
    assert found.ko == "정오에 점검"
    assert "\x1b" not in admin(stack, "banner")
    assert "at most 300 characters" in refusal(stack, "banner", "--en", "x" * 301)
    assert "gone" in admin(stack, "banner", "--clear")
    assert read_banner(engine) is None


def test_each_command_of_the_parser_exists() -> None:
    actions = make_parser()._subparsers
    assert actions is not None
    (commands,) = (each for each in actions._group_actions if isinstance(each, argparse._SubParsersAction))
    assert set(commands.choices) == set(COMMANDS)
