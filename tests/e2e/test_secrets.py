"""No key, prompt or answer appears in logs, the broker, metrics or Flower, and the log lines carry the ids."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Engine

from shared.tables import TERMINAL
from tests.crash.person import Person
from tests.patience import patient
from tests.stack import NO_PROXY, Process, Stack, free_port, get, wait_until

KEY = "sk-planted-0123456789abcdef"
PROMPT = "a-planted-question-that-nobody-else-asks"
ANSWER = "a-planted-answer-that-nobody-else-gives"
GOOD = f'{PROMPT} [[sim: text="{ANSWER} one two three" pace=100 first=0.05]]'
BAD = [f"{PROMPT} [[sim: fault={fault} key={fault}]]" for fault in ("401", "500", "malformed", "badhead", "context")]


def _secrets_in(text: str) -> list[str]:
    return [secret for secret in (KEY, PROMPT, ANSWER) if secret in text]


@pytest.fixture
def flower(stack: Stack) -> Process:
    port = free_port()
    words = ("flower", "--address=127.0.0.1", f"--port={port}", "--basic_auth=naru:secret-of-flower")
    process = stack.run("flower", "-m", "celery", "-A", "workers.app:app", *words)
    process.url = f"http://127.0.0.1:{port}"
    wait_until(lambda: get(process.url + "/healthcheck")[0] == 200, seconds=30, what="Flower")
    return process


def _flower_tasks(flower: Process) -> str:
    password = base64.b64encode(b"naru:secret-of-flower").decode()
    request = urllib.request.Request(flower.url + "/api/tasks", headers={"Authorization": f"Basic {password}"})
    with NO_PROXY.open(request, timeout=patient(5)) as answer:
        return str(answer.read().decode())


def test_no_secret_leaves_the_rows_and_the_live_stream(stack: Stack, engine: Engine, flower: Process) -> None:
    simulator = stack.start_simulator()
    stack.configure(openai_api_key=KEY, openai_base_url=simulator.url + "/v1", retry_seconds=1, simulator_url="")
    web, worker = stack.start_web(), stack.start_worker()
    with Person(stack, engine) as alice:
        asked = [alice.ask(words) for words in (GOOD, *BAD)]
        for request in asked:
            assert alice.wait_end(request).status in TERMINAL
        assert alice.answers(asked[0]) == [f"{ANSWER} one two three"]

    assert get(flower.url + "/api/tasks")[0] == 401
    wait_until(lambda: "openai" in _flower_tasks(flower), what="Flower knows the tasks by their lane")
    tasks = _flower_tasks(flower)
    assert _secrets_in(tasks) == []
    assert _secrets_in(get(web.url + "/metrics")[1]) == []
    for process in (web, worker, flower):
        assert _secrets_in(process.log_text()) == [], process.command.name
    assert _secrets_in(_broker(stack)) == []
    _assert_ids_all_the_way(worker.log, str(asked[0]))


def _broker(stack: Stack) -> str:
    """Return everything in Redis except the live streams, which carry text but are private and short-lived."""
    with Redis.from_url(stack.redis_url) as redis:
        dumps = [redis.dump(key) or b"" for key in redis.scan_iter() if not key.startswith(b"naru:live:")]
        waiting = [b"".join(redis.lrange(key, 0, -1)) for key in redis.scan_iter(_type="list")]
    return b"\n".join([*dumps, *waiting]).decode(errors="replace")


def _assert_ids_all_the_way(log: Path, request_id: str) -> None:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    of_request = [line for line in lines if line.get("request_id") == request_id]
    assert {"claimed", "attempt ended"} <= {line["message"] for line in of_request}
    for line in of_request:
        if line["logger"] == "workers.answering.answer":
            assert {"conversation_id", "attempt", "worker_id"} <= set(line)
