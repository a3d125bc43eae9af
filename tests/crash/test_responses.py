"""OpenAI responses in background with real workers: whatever breaks, one response is made, and its text comes once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from shared.conversations import open_conversation
from shared.postgres.database import make_engine, transaction
from shared.tables import Status
from tests.crash.person import OWNER, Person
from tests.patience import patient
from tests.providers.responses_server import Responses, ResponsesServer, Script
from tests.stack import SHORT_LEASES, Stack, free_port, wait_until

MODEL = "deep/thinker"
LONG = Script(text=[f"word{number} " for number in range(120)], pace=0.05)
WHOLE = "".join(LONG.text).rstrip()


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(module_stack: Stack, port: int) -> Stack:
    """Return the module's stack, whose only provider is at `port`. Each test reuses the workers of the previous one."""
    use_responses(module_stack, port)
    return module_stack


def use_responses(stack: Stack, port: int, *lines: str) -> None:
    """Make the server at `port` the only provider, with these lines in its table."""
    use_api(stack, "responses", f"http://127.0.0.1:{port}", *lines)


def use_api(stack: Stack, api: str, address: str, *lines: str) -> None:
    """Let the only provider have this API, for the running workers too."""
    path: Path = stack.folder / "providers.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'[providers.deep]\nkind = "openai"\naddress = "{address}/v1"\nkey = "sk-test"\n'
        f'api = "{api}"\nmodels = ["thinker"]\n' + "\n".join(lines)
    )
    path.chmod(0o600)
    stack.configure(**SHORT_LEASES, providers_file=path, simulator_url="")


@pytest.fixture
def memory() -> Responses:
    return Responses([LONG])


@pytest.fixture
def server(memory: Responses, port: int) -> Iterator[ResponsesServer]:
    with ResponsesServer(memory, port=port) as running:
        yield running


def generated(memory: Responses, deltas: int) -> Callable[[], bool]:
    return lambda: bool(memory.created) and memory.created[0].deltas >= deltas


def noted(person: Person, request_id: UUID) -> str | None:
    found: str | None = person.row(request_id).call_id
    return found


def used(engine: Engine, request_id: UUID) -> list[tuple[int, int]]:
    """Return the tokens that each attempt used."""
    found = text("SELECT input_tokens, output_tokens FROM request_attempt WHERE request_id = :id ORDER BY attempt")
    with transaction(engine) as connection:
        return [(each.input_tokens, each.output_tokens) for each in connection.execute(found, {"id": request_id})]


class End(NamedTuple):
    """How a request ended, with its answers, the responses that were made for it, and what is left of its call."""

    status: Status
    attempt: int
    answers: list[str]
    created: int
    call_id: str | None


def end_of(person: Person, request_id: UUID, memory: Responses) -> End:
    row = person.wait_end(request_id, seconds=60)
    texts = [each.rstrip() for each in person.answers(request_id)]
    return End(Status(row.status), row.attempt, texts, len(memory.created), row.call_id)


def whole(*, attempt: int, created: int = 1) -> End:
    """Return the end of a request whose whole text came once."""
    return End(Status.SUCCEEDED, attempt, [WHOLE], created, None)


def test_new_worker_takes_up_the_call_of_a_killed_one(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    (worker,) = stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        alice.wait_text(request)
        worker.kill()
        stack.start_worker()
        assert end_of(alice, request, memory) == whole(attempt=2)
        row: Any = alice.row(request)
    assert (row.input_tokens, row.output_tokens, row.cached_input_tokens) == (20, 30, 8)
    assert used(engine, request) == [(0, 0), (20, 30)]
    assert server.responses.cancelled == []


def test_call_of_an_api_that_is_off_is_left_to_others(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses, port: int
) -> None:
    """The operator sets `api` back while an answer runs; some workers may still know the old value."""
    memory.scripts = [replace(LONG, pace=1.0)]
    (worker,) = stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("[[sim: tokens=5 pace=0 first=0]] Tell me.", model=MODEL)
        wait_until(lambda: noted(alice, request), what="the id of the call is stored")
        worker.kill()
        try:
            use_api(stack, "chat", stack.start_simulator().url)
            stack.start_worker()
            row = alice.wait_end(request, seconds=60)
            assert (row.status, row.attempt, row.call_id) == (Status.SUCCEEDED, 2, memory.created[0].id)
            assert used(engine, request)[1][1] == 5, "the call of the other API is billed"
        finally:
            use_responses(stack, port)
        wait_until(lambda: memory.cancelled, seconds=30, what="a worker that can reach the call cancels it")
        wait_until(lambda: noted(alice, request) is None, what="its id is gone")


def test_crash_before_the_first_word_costs_no_second_call(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    memory.scripts = [replace(LONG, queue=3.0)]
    (worker,) = stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        wait_until(lambda: noted(alice, request), what="the id of the call is stored")
        worker.kill()
        stack.start_worker()
        assert end_of(alice, request, memory) == whole(attempt=2)


def test_replay_stores_no_time_of_thinking(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    """The replay takes milliseconds, however long the model thought."""
    memory.scripts = [replace(LONG, thoughts=["First ", "the ferryman."])]
    (worker,) = stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        alice.wait_text(request)
        worker.kill()
        stack.start_worker()
        assert end_of(alice, request, memory) == whole(attempt=2)
        shown = open_conversation(engine, alice.row(request).conversation_id, owner=OWNER).messages[-1]
    assert shown.end is not None
    assert (shown.end.has_reasoning, shown.end.thought_seconds) == (True, 0.0)


def test_drained_worker_hands_its_call_over(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    memory.scripts = [replace(LONG, pace=0.1)]
    workers = stack.workers(2)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        alice.wait_text(request)
        pid = alice.worker_pid(request)
        next(each for each in workers if each.pid == pid).terminate()
        assert end_of(alice, request, memory) == whole(attempt=2)
    assert memory.cancelled == []


def test_drained_worker_cancels_a_call_without_an_id(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    memory.scripts = [replace(LONG, announce=6.0, pace=0.2), replace(LONG, pace=0.0)]
    stack.workers(0)
    worker = stack.start_worker(grace_seconds=1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        wait_until(lambda: memory.created, what="the response is made")
        worker.terminate()
        wait_until(lambda: memory.cancelled, seconds=20, what="the response is cancelled")
        stack.start_worker()
        assert end_of(alice, request, memory) == whole(attempt=2, created=2)
    assert memory.cancelled == [memory.created[0].id]
    stack.workers(0)


def test_thawed_worker_leaves_the_call_to_the_next(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    memory.scripts = [replace(LONG, pace=0.2)]
    workers = stack.workers(2)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        alice.wait_text(request)
        pid = alice.worker_pid(request)
        frozen = next(each for each in workers if each.pid == pid)
        frozen.freeze()
        alice.wait_running(request, attempt=2)
        frozen.thaw()
        wait_until(lambda: "marked lost" in frozen.log_text(), what="the thawed worker knows that it was lost")
        assert end_of(alice, request, memory) == whole(attempt=2)
    assert memory.cancelled == []


def test_broken_connection_is_no_new_attempt(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        for deltas in (10, 25, 40):
            wait_until(generated(memory, deltas), what="text")
            server.break_connections()
        assert end_of(alice, request, memory) == whole(attempt=1)


def test_answer_goes_on_after_a_restart_of_the_server(
    stack: Stack, engine: Engine, memory: Responses, port: int
) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        with ResponsesServer(memory, port=port):
            request = alice.ask("Tell me.", model=MODEL)
            wait_until(generated(memory, 10), what="text")
        wait_until(generated(memory, 60), what="the response goes on while its server is away")
        with ResponsesServer(memory, port=port):
            assert end_of(alice, request, memory) == whole(attempt=1)


def test_server_that_stays_away_makes_the_request_wait(
    stack: Stack, engine: Engine, memory: Responses, port: int
) -> None:
    """The stream gives up, and the queue's next attempt takes the call up."""
    stack.workers(1)
    with Person(stack, engine) as alice:
        with ResponsesServer(memory, port=port):
            request = alice.ask("Tell me.", model=MODEL)
            wait_until(generated(memory, 10), what="text")
        wait_until(lambda: alice.row(request).broken_streams == 1, seconds=60, what="the attempt breaks off")
        assert noted(alice, request) == memory.created[0].id
        with ResponsesServer(memory, port=port):
            row = alice.wait_end(request, seconds=60)
            assert end_of(alice, request, memory) == whole(attempt=row.attempt)


def test_forgotten_response_is_made_once_more(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    (worker,) = stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        alice.wait_text(request)
        worker.kill()
        memory.forget()
        stack.start_worker()
        assert end_of(alice, request, memory) == whole(attempt=2, created=2)
    (before, (read, written)) = used(engine, request)
    assert before == (0, 0)
    assert read > 20, "the prompt of the response that is gone counts too"
    assert written == 30


def test_stop_cancels_the_response(stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        alice.wait_text(request)
        alice.stop(request)
        assert alice.wait_end(request, seconds=5).status == Status.CANCELLED
        wait_until(lambda: memory.cancelled, what="the response is cancelled")
        wait_until(lambda: noted(alice, request) is None, what="its id is gone")
        (answer,) = alice.answers(request)
    assert WHOLE.startswith(answer.rstrip())
    assert memory.created[0].status == "cancelled"
    assert memory.created[0].deltas < len(LONG.text)


def test_stop_before_the_first_word_cancels_the_response(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    memory.scripts = [replace(LONG, accept=1.0)]
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        wait_until(lambda: memory.created, what="the response is made")
        alice.stop(request)
        assert alice.wait_end(request, seconds=5).status == Status.CANCELLED
        wait_until(lambda: memory.cancelled, what="the response is cancelled")
    assert memory.created[0].status == "cancelled"


@pytest.mark.parametrize("status", [401, 403, 429])
def test_refused_cancel_is_tried_again(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses, status: int
) -> None:
    memory.scripts, memory.cancel_status = [replace(LONG, pace=0.5)], status
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        alice.wait_text(request)
        alice.stop(request)
        assert alice.wait_end(request, seconds=5).status == Status.CANCELLED
        wait_until(lambda: memory.refused_cancels, what="the cancel is refused")
        memory.cancel_status = 0
        wait_until(lambda: memory.cancelled, seconds=90, what="the cancel is tried again")
        wait_until(lambda: noted(alice, request) is None, what="its id is gone")


def test_stop_without_its_worker_cancels_the_response_later(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    memory.scripts = [replace(LONG, pace=0.5)]
    (worker,) = stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        alice.wait_text(request)
        wait_until(lambda: noted(alice, request), what="the id of the call is stored")
        worker.kill()
        alice.stop(request)
        stack.start_worker()
        assert alice.wait_end(request).status == Status.CANCELLED
        wait_until(lambda: memory.cancelled, seconds=20, what="another worker cancels the response")
        wait_until(lambda: noted(alice, request) is None, what="its id is gone")
    assert len(memory.created) == 1


def test_failed_request_cancels_its_response(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    stack.workers(0)
    stack.start_worker(total_seconds=3, first_token_seconds=3, idle_seconds=3, grace_seconds=1)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        row = alice.wait_end(request)
        assert (row.status, row.error_code) == (Status.FAILED, "total_timeout")
        wait_until(lambda: memory.cancelled, what="the response is cancelled")
    stack.workers(0)


def test_silence_in_the_queue_costs_no_second_call(
    stack: Stack, engine: Engine, server: ResponsesServer, memory: Responses
) -> None:
    first_token_seconds = patient(1.5)  # enough for the reply to begin
    memory.scripts = [replace(LONG, queue=2.5 * first_token_seconds, pace=0.0)]
    stack.workers(0)
    stack.start_worker(first_token_seconds=first_token_seconds)
    with Person(stack, engine) as alice:
        request = alice.ask("Tell me.", model=MODEL)
        row = alice.wait_end(request, seconds=60)
        assert end_of(alice, request, memory) == whole(attempt=row.attempt)
        assert row.attempt > 1
    stack.workers(0)


@pytest.mark.timeout(300)
def test_id_is_stored_once_postgres_is_back(own_stack: Stack) -> None:
    memory = Responses([replace(LONG, accept=2.0, pace=0.5)])
    with ResponsesServer(memory) as server:
        use_responses(own_stack, server.port)
        worker = own_stack.start_worker()
        engine = make_engine(own_stack.settings, name="test")
        with Person(own_stack, engine) as alice:
            request = alice.ask("Tell me.", model=MODEL)
            wait_until(lambda: memory.created, what="the response is made")
            own_stack.servers.stop_postgres()
            wait_until(generated(memory, 8), what="the id is known while Postgres is away")
            own_stack.servers.start_postgres()
            wait_until(lambda: noted(alice, request), seconds=30, what="the id of the call is stored")
            worker.kill()
            own_stack.start_worker()
            row = alice.wait_end(request, seconds=120)
            assert end_of(alice, request, memory) == whole(attempt=row.attempt)
        engine.dispose()
