"""The commands `./naru ask` and `./naru doctor`, on a stack with the demo simulator."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from deploy.embedded import processes
from deploy.embedded.processes import ROOT
from tests.patience import patient
from tests.providers.test_registry import serving
from tests.stack import SHORT_LEASES, Process, Servers, Stack, free_port, wait_until


def naru(stack: Stack, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-P", "-m", "deploy.cli.main", *words]
    return subprocess.run(
        command,
        env=stack.environ(**settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(90),
        check=False,
    )


def asking(stack: Stack, *words: str) -> Process:
    """Start `./naru ask` as a process that can be interrupted."""
    return stack.run("ask", "-P", "-m", "deploy.cli.main", "ask", *words)


@pytest.fixture(scope="module")
def answering(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield a stack with a model and a worker, for the tests that only ask."""
    database_url = servers.create_database("asked", template="naru")
    stack = Stack(tmp_path_factory.mktemp("ask"), database_url, servers.redis_server.url_of(511), servers)
    try:
        stack.start_simulator()
        stack.start_worker()
        yield stack
    finally:
        stack.close()
        servers.drop_database("asked")


def test_answer_streams_and_counts_as_success(answering: Stack) -> None:
    asked = naru(answering, "ask", "Where is the landing?")
    assert asked.returncode == 0, asked.stderr
    assert "> Where is the landing?" in asked.stdout
    assert asked.stdout.endswith("\n")
    assert asked.stderr == ""


def test_ask_keeps_personal_data_back(answering: Stack) -> None:
    question = "Is 4111 1111 1111 1111 a card?"
    kept = naru(answering, "ask", question, personal_data="warn")
    assert (kept.returncode, kept.stdout) == (1, "")
    assert kept.stderr == (
        "naru ask: The question seems to contain a card number. It was not sent. Take it out, or add --anyway.\n"
    )
    assert naru(answering, "ask", question, "--anyway", personal_data="warn").returncode == 0
    blocked = naru(answering, "ask", question, "--anyway", personal_data="block")
    assert (blocked.returncode, blocked.stdout) == (1, "")


def test_json_ends_with_one_object(answering: Stack) -> None:
    asked = naru(answering, "ask", "나루는 어디입니까?", "--json")
    report = json.loads(asked.stdout)
    assert asked.returncode == 0
    assert set(report) == {
        "request_id",
        "conversation_id",
        "status",
        "error_code",
        "attempts",
        "model",
        "text",
        "usage",
        "queue_seconds",
        "first_token_seconds",
        "total_seconds",
    }
    assert (report["status"], report["attempts"], report["error_code"]) == ("succeeded", 1, None)
    assert report["text"].strip() == asked.stderr.strip()
    assert report["usage"]["output_tokens"] > 0
    assert 0 <= report["queue_seconds"] <= report["first_token_seconds"] <= report["total_seconds"]


def test_ask_without_a_worker_waits_until_interrupted(stack: Stack) -> None:
    ask = asking(stack, "Is anybody there?", "--model", "demo/simulator", "--json")
    wait_until(lambda: "Nothing can answer right now" in ask.log_text(), seconds=30)
    processes.send(ask.pid, signal.SIGINT)
    assert ask.wait() == 130
    assert json.loads(ask.log_text().splitlines()[-1])["status"] == "cancelled"


def test_ctrl_c_keeps_the_partial_answer(answering: Stack) -> None:
    ask = asking(answering, "Tell me all of it.")
    wait_until(lambda: "> Tell me" in ask.log_text(), seconds=30)
    processes.send(ask.pid, signal.SIGINT)
    assert ask.wait() == 130
    assert ask.log_text().endswith("[Stopped]\n")


def test_ask_reports_a_dead_worker_and_recovers(stack: Stack) -> None:
    stack.configure(**SHORT_LEASES)
    stack.start_simulator()
    first = stack.start_worker()
    ask = asking(stack, "Go on, whatever happens.")
    wait_until(lambda: "> Go on" in ask.log_text(), seconds=30)
    stack.start_worker(ready=False)
    first.kill()
    assert ask.wait(seconds=60) == 0
    assert "Answering again from the start (2nd try)" in ask.log_text()


def test_unknown_model_is_refused_with_the_list(answering: Stack) -> None:
    asked = naru(answering, "ask", "Hello", "--model", "openai/none")
    assert asked.returncode == 1
    assert asked.stderr == "naru ask: the model openai/none is not available. Available: demo/simulator\n"


def test_ask_says_that_all_models_are_hidden(answering: Stack) -> None:
    assert naru(answering, "providers", "hide", "demo/simulator").returncode == 0
    asked = naru(answering, "ask", "Hello")
    named = naru(answering, "ask", "Hello", "--model", "demo/simulator")
    assert naru(answering, "providers", "show", "demo/simulator").returncode == 0
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr == (
        "naru ask: No model is shown, because an administrator has hidden all. "
        "./naru providers show MODEL shows one again.\n"
    )
    assert named.returncode == 0, "hiding is no lock"


def test_ask_and_doctor_suggest_up_when_nothing_runs(stack: Stack, tmp_path: Path) -> None:
    for command in (["ask", "Hello"], ["doctor"]):
        asked = naru(stack, *command, "--data", str(tmp_path), database_url="", redis_url="")
        assert asked.returncode == 1
        assert "./naru up" in asked.stderr + asked.stdout


def test_doctor_finds_a_healthy_stack_healthy(answering: Stack) -> None:
    looked = naru(answering, "doctor")
    assert {line for line in looked.stdout.splitlines() if line.startswith("NO")} == {
        f"NO  postgres: {name} is off" for name in ("fsync", "synchronous_commit", "full_page_writes")
    }
    assert "ok  workers: 1 consume" in looked.stdout
    assert "ok  tables: up to date" in looked.stdout
    assert "ok  kept: conversations: no age limit; deleted ones: 30 days" in looked.stdout
    assert "!   models: only the demo simulator answers" in looked.stdout


def test_doctor_says_what_to_do_about_each_fault(own_stack: Stack) -> None:
    with own_stack.redis_client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    looked = naru(own_stack, "doctor", openai_api_key="sk-nobody", openai_base_url="http://127.0.0.1:9/v1")
    assert looked.returncode == 1
    for sign in (
        "maxmemory-policy is allkeys-lru",
        "workers: none is running",
        "openai: http://127.0.0.1:9 cannot be reached",
    ):
        assert f"NO  {sign}" in looked.stdout.replace("NO  redis: ", "NO  ")
    assert "models:" not in looked.stdout, "a missing worker is the cause"
    own_stack.servers.stop_redis()
    looked = naru(own_stack, "doctor")
    assert "NO  redis: " in looked.stdout
    assert "sk-nobody" not in looked.stdout


def test_doctor_tries_providers_when_asked_to(stack: Stack) -> None:
    stack.start_simulator("--script", "quirks=no_system shape=nofinish", "--window", "8192")
    silent = {"openai_api_key": "sk-nobody", "openai_base_url": f"http://127.0.0.1:{free_port()}/v1"}
    looked = naru(stack, "doctor", "--providers", models="demo/simulator,openai/away", **silent)
    assert "ok  providers: asking 2 models one question each" in looked.stdout
    seen = next(line for line in looked.stdout.splitlines() if line.startswith("ok  demo/simulator: "))
    for phrase in ("streams", "reports usage", "no finish mark", "a window of 8192 tokens", "no system role"):
        assert phrase in seen
    assert "NO  openai/away: openai: " in looked.stdout
    assert "sk-nobody" not in looked.stdout
    calls = stack.calls_log.read_text("utf-8")
    assert calls.count('"start"') == 2
    assert "asking" not in naru(stack, "doctor").stdout
    assert stack.calls_log.read_text("utf-8") == calls, "without the option no model is asked"


def test_doctor_reports_old_tables(own_stack: Stack) -> None:
    connection = psycopg2.connect(own_stack.database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    looked = naru(own_stack, "doctor")
    assert "NO  tables: not up to date with this version" in looked.stdout


def test_registry_finds_a_server_that_comes_up_later(stack: Stack) -> None:
    port = free_port()
    stack.configure(openai_base_url=f"http://127.0.0.1:{port}/v1")
    stack.start_worker()
    refused = naru(stack, "ask", "Hello")
    assert "no model is available yet" in refused.stderr
    assert f"start the server at http://127.0.0.1:{port}" in naru(stack, "doctor").stdout
    with serving({"/v1/models": {"data": [{"id": "late"}]}}, port=port):
        wait_until(lambda: "openai/late" in naru(stack, "doctor").stdout, seconds=20)


def test_rate_limit_says_when_to_ask_again(answering: Stack) -> None:
    assert naru(answering, "ask", "[[sim: tokens=1]] One?").returncode == 0
    refused = naru(answering, "ask", "Two?", owner_questions_per_minute=1)
    assert refused.returncode == 1
    assert refused.stderr.startswith("naru ask: You sent too many questions in a minute. The limit is 1. Try again in ")
