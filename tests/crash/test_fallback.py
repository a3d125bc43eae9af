"""Fallback with real workers: another model answers while the chosen one is away, and no answer is lost or doubled.

Two simulators play two providers. The options of the first one are its fault.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select

from shared.lifecycle.falling_back import PATIENCE_SECONDS
from shared.postgres.database import make_engine
from shared.tables import Status, lane
from tests.crash.person import Person, full_text
from tests.patience import patient
from tests.providers.responses_server import Responses, ResponsesServer, Script
from tests.stack import CALM, SHORT_LEASES, Process, Stack, free_port, wait_until

SHORT = "[[sim: tokens=5 pace=50 first=0]] Tell me."
SLOW = "[[sim: tokens=100 pace=20 first=0]] Tell me."
FIRST, SECOND = "one/simulator", "two/simulator"
CHAIN = f'[fallback]\n"{FIRST}" = ["{SECOND}"]\n'


@dataclass(frozen=True)
class House:
    """A stack whose file has two providers and a chain, and somebody who asks."""

    stack: Stack
    engine: Engine
    alice: Person

    def write(self, first: str, second: str, chain: str = CHAIN, *, api: str = "chat") -> None:
        """Write the file, with the addresses of both providers. `api` is the first one's."""
        tables = [
            f'[providers.{name}]\nkind = "openai"\naddress = "{url}/v1"\nkey_file = "a.key"\n'
            f'api = "{api}"\nmodels = ["simulator"]\n'
            for name, url, api in (("one", first, api), ("two", second, "chat"))
        ]
        self.stack.folder.joinpath("a.key").write_text("sk-a\n")
        self.stack.folder.joinpath("a.key").chmod(0o600)
        path = self.stack.folder / "providers.toml"
        path.write_text("\n".join([*tables, chain]))
        self.stack.configure(providers_file=path, simulator_url="", broker_silence_seconds=600, fallback="")

    def start(self, *fault: str) -> Process:
        """Start a faulty first provider and a sound second one; return their worker."""
        first = self.stack.start_simulator("--script", " ".join(fault)) if fault else None
        second = self.stack.start_simulator()
        self.write(first.url if first else unused_address(), second.url)
        return self.stack.start_worker()

    def leave_call(self, server: ResponsesServer) -> UUID:
        """Ask a silent response, and return the request once the second model has answered it."""
        self.write(server.url.removesuffix("/v1"), self.stack.start_simulator().url, api="responses")
        self.stack.start_worker(first_token_seconds=patient(1.5))
        request_id = self.alice.ask(SHORT, model=FIRST)
        self.answered_by_second(request_id, code="first_token_timeout")
        return request_id

    def calls(self) -> int:
        """Return the number of calls that came to both providers."""
        return len([line for line in self.lines() if line["event"] == "start"])

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stack.calls_log.read_text("utf-8").splitlines()]

    def answered_by_second(self, request_id: UUID, *, code: str, question: str = SHORT) -> None:
        """Check that the second model answered once, and that the choice and the reason are stored."""
        row = self.alice.wait_end(request_id, seconds=60)
        assert (row.status, row.model, row.lane) == (Status.SUCCEEDED, SECOND, "two")
        assert (row.asked_model, row.asked_code) == (FIRST, code)
        assert self.alice.answers(request_id) == [full_text(question)]


def unused_address() -> str:
    """Return an address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def house(own_stack: Stack) -> Iterator[House]:
    """A stack of two providers, without processes."""
    own_stack.configure(**CALM)
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        yield House(own_stack, engine, alice)
    engine.dispose()


@pytest.mark.parametrize(
    ("fault", "code", "calls"),
    [
        ("fault=quota", "quota_exhausted", 2),
        ("fault=401", "auth_failed", 2),
        ("fault=404", "model_not_found", 2),
        ("fault=html", "wrong_address", 2),
        ("fault=503", "overloaded", 3),
        ("fault=429 retry_after=60", "rate_limited", 2),
    ],
)
def test_second_model_answers_while_the_first_is_away(house: House, fault: str, code: str, calls: int) -> None:
    worker = house.start(fault)
    request_id = house.alice.ask(SHORT, model=FIRST)
    house.answered_by_second(request_id, code=code)
    wait_until(lambda: '"fell_back"' in worker.log_text(), seconds=10, what="the fallback is counted")
    assert house.calls() == calls


@pytest.mark.parametrize(
    ("fault", "code"), [("fault=filter", "content_filtered"), ("fault=400", "bad_request"), ("fault=cut at=2", "")]
)
def test_error_that_another_model_cannot_help_stays(house: House, fault: str, code: str) -> None:
    """A filter, a bad request, or text that somebody has seen."""
    house.start(fault)
    row = house.alice.wait_end(house.alice.ask(SHORT, model=FIRST))
    assert (row.status, row.model, row.asked_model) == (Status.FAILED, FIRST, None)
    assert row.error_code == (code or "stream_broken")


def test_many_questions_leave_a_provider_that_is_away(house: House) -> None:
    house.start()
    asked = [house.alice.ask(SHORT, model=FIRST) for _ in range(12)]
    for request_id in asked:
        house.answered_by_second(request_id, code="connect_failed")
    assert house.calls() == len(asked)


def breaker_of(house: House, name: str) -> tuple[int, str | None]:
    """Return the failures in a row of a lane, and their reason."""
    with house.engine.connect() as connection:
        row = connection.execute(select(lane.c.failures, lane.c.code).where(lane.c.name == name)).one()
    return row.failures, row.code


def offer(house: House, line: str) -> None:
    """Replace the models of the first provider by this line of the file."""
    path = house.stack.folder / "providers.toml"
    path.write_text(path.read_text().replace('models = ["simulator"]', line, 1))


def test_questions_leave_a_provider_that_refuses_the_key(house: House) -> None:
    """Each would ask it first otherwise, and at its own pace."""
    first, second = house.stack.start_simulator("--script", "fault=401"), house.stack.start_simulator()
    house.write(first.url, second.url)
    offer(house, 'models = ["simulator"]\nrequests_per_minute = 12')
    house.stack.start_worker()
    asked = [house.alice.ask(SHORT, model=FIRST) for _ in range(4)]
    for request_id in asked:
        house.answered_by_second(request_id, code="auth_failed")
    # Two open the breaker, and perhaps another one is its probe.
    assert house.calls() <= len(asked) + 3


def test_model_without_a_chain_fails_at_a_refused_key(house: House) -> None:
    first, second = house.stack.start_simulator("--script", "fault=401"), house.stack.start_simulator()
    house.write(first.url, second.url)
    offer(house, 'models = ["simulator", "other"]')
    house.stack.start_worker()
    for _ in range(2):
        house.answered_by_second(house.alice.ask(SHORT, model=FIRST), code="auth_failed")
    wait_until(lambda: breaker_of(house, "one") == (2, "auth_failed"), seconds=10, what="the breaker is open")
    row = house.alice.wait_end(house.alice.ask(SHORT, model="one/other"), seconds=60)
    assert (row.status, row.error_code) == (Status.FAILED, "auth_failed")
    # Others without a chain need not wait for it.
    wait_until(lambda: breaker_of(house, "one") == (0, None), seconds=10, what="the breaker is closed")


def test_model_that_is_gone_closes_only_its_own_lane(house: House) -> None:
    house.stack.configure(lanes=f"{FIRST}=5")
    house.start("fault=404")
    house.answered_by_second(house.alice.ask(SHORT, model=FIRST), code="model_not_found")
    wait_until(lambda: breaker_of(house, FIRST) == (2, "model_not_found"), seconds=10, what="the lane is closed")
    assert breaker_of(house, "one") == (0, None)


def test_question_comes_back_to_a_provider_that_works_again(house: House) -> None:
    house.start(f"down={PATIENCE_SECONDS} key=all")
    house.answered_by_second(house.alice.ask(SHORT, model=FIRST), code="overloaded")

    def is_back() -> bool:
        row = house.alice.wait_end(house.alice.ask(SHORT, model=FIRST), seconds=60)
        assert row.status == Status.SUCCEEDED
        return bool(row.model == FIRST)

    wait_until(is_back, seconds=90, what="the first provider answers again")


def test_killed_worker_loses_no_fallback(house: House) -> None:
    house.stack.configure(**SHORT_LEASES)
    worker = house.start("fault=quota")
    request_id = house.alice.ask(SLOW, model=FIRST)
    wait_until(lambda: house.alice.row(request_id).model == SECOND, seconds=30, what="it falls back")
    house.alice.wait_running(request_id, attempt=2)
    house.alice.wait_text(request_id)
    worker.kill()
    house.stack.start_worker()
    house.answered_by_second(request_id, code="quota_exhausted", question=SLOW)
    assert house.alice.row(request_id).attempt == 3


def test_fallback_cancels_a_call_that_goes_on(house: House) -> None:
    memory = Responses([Script(text=["late"], queue=600.0)])
    with ResponsesServer(memory, port=free_port()) as server:
        request_id = house.leave_call(server)
        wait_until(lambda: memory.cancelled, what="the response is cancelled")
    assert house.alice.row(request_id).call_id is None


def test_call_is_cancelled_later_if_the_cancel_fails(house: House) -> None:
    memory = Responses([Script(text=["late"], queue=600.0)], cancel_status=503)
    with ResponsesServer(memory, port=free_port()) as server:
        house.leave_call(server)
        wait_until(lambda: memory.refused_cancels, what="a cancel is refused")
        memory.cancel_status = 0
        wait_until(lambda: memory.cancelled, seconds=30, what="a later look cancels the response")
    assert len(memory.created) == 1


def test_setting_gives_a_chain_too(house: House) -> None:
    first, second = house.stack.start_simulator("--script", "fault=401"), house.stack.start_simulator()
    house.write(first.url, second.url, chain="")
    house.stack.start_worker(fallback=f"{FIRST} > {SECOND}")
    request_id = house.alice.ask(SHORT, model=FIRST)
    house.answered_by_second(request_id, code="auth_failed")
    assert house.alice.row(request_id).attempt == 2


def test_worker_that_offers_the_second_model_takes_over(house: House) -> None:
    """The worker that falls back does not offer the other model: the request waits in its lane for one that does."""
    house.start("fault=401").terminate()
    path = house.stack.folder / "providers.toml"
    whole, first_only = path.read_text(), path.with_name("first.toml")
    only = 'models = ["simulator"]'
    first_only.write_text('models = ["another"]'.join(whole.rsplit(only, 1)))
    path.write_text('models = ["another"]'.join(whole.split(only, 1)))
    house.stack.start_worker(providers_file=first_only)
    house.stack.start_worker()
    request_id = house.alice.ask(SHORT, model=FIRST)
    house.answered_by_second(request_id, code="auth_failed")
    assert house.alice.row(request_id).attempt == 2
