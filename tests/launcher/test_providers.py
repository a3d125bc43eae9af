"""`./naru providers`, and what doctor says about providers, with real servers on loopback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from deploy.cli.provider_checks import absent_lines
from deploy.cli.providing import TEST_TOKENS
from deploy.embedded.processes import ROOT
from shared.fleet import AbsentProvider, Member, Model, fleet, register
from shared.model_facts import learn
from shared.postgres.database import make_engine
from tests.providers.responses_server import Responses, ResponsesServer
from tests.providers.test_listing import data, serving
from tests.providers.wild import DONE, Call, Reply, WildServer, json_reply, sse, text_chunk
from tests.stack import Stack


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack."""
    return module_stack


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database, with a worker that offers three models."""
    made = make_engine(stack.settings, name="test")
    models = [Model(name=f"gateway/{name}", demo=False) for name in ("a", "b-old", "c-old")]
    register(made, Member(worker_id=uuid4(), host="h", pid=1, version="0", slots=1, models=models), lease_seconds=900)
    return made


def naru(stack: Stack, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli.main", *words],
        env=stack.environ(**settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def file_of(tmp_path: Path, *tables: str) -> Path:
    path = tmp_path / "providers.toml"
    path.write_text("\n".join(tables))
    path.chmod(0o600)
    return path


def table(name: str, address: str, *lines: str) -> str:
    return "\n".join([f"[providers.{name}]", 'kind = "openai"', f'address = "{address}"', *lines])


def test_providers_are_listed_with_what_is_wrong(stack: Stack, tmp_path: Path) -> None:
    with serving({"/v1/models": data("llama", "whisper-1")}) as url, serving({"/": (200, b"<html>")}) as page:
        path = file_of(tmp_path, table("good", f"{url}/v1"), table("web", page), table("off", "http://127.0.0.1:9"))
        listed = naru(stack, "providers", providers_file=path, simulator_url="")
        one = naru(stack, "providers", "list", "good", providers_file=path, simulator_url="")
        looked = naru(stack, "doctor", providers_file=path, simulator_url="")
    assert listed.returncode == 1
    assert f"good  openai  {url}  good\n  1 model\n" in listed.stdout
    assert (
        "it has no list of models below its address. Most servers need an address that ends with /v1." in listed.stdout
    )
    assert "it cannot be reached." in listed.stdout
    assert "good/llama" in one.stdout
    assert "ok  good: answers without a key, 1 models that can chat" in looked.stdout
    assert "NO  off: http://127.0.0.1:9 cannot be reached" in looked.stdout
    assert f"NO  web: {page} has no list of models below its address" in looked.stdout


def test_defaults_are_listed(stack: Stack, tmp_path: Path) -> None:
    defaults = [
        '[defaults."good/*"]\ntemperature = 0.2\ninstructions = """\nBe brief.\nAnswer in Korean."""',
        '[defaults."good/b"]\ninstructions = ""',
    ]
    path = file_of(tmp_path, table("good", "http://127.0.0.1:9", "models = ['a', 'b']"), *defaults)
    listed = naru(stack, "providers", providers_file=path, simulator_url="")
    one = naru(stack, "providers", "list", "good", providers_file=path, simulator_url="")
    words = "temperature 0.2, instructions Be brief. Answer in Korean."
    assert f"  defaults of good/* (2 on offer): {words}\n" in listed.stdout
    assert "  defaults of good/b (1 on offer): no instructions\n" in listed.stdout
    assert [each.strip() for each in one.stdout.splitlines()[2:]] == [
        "good/a",
        f"defaults: {words}",
        "good/b",
        "defaults: temperature 0.2",
    ]


def test_mistake_in_the_file_is_one_sentence(stack: Stack, tmp_path: Path) -> None:
    path = file_of(tmp_path, table("a", "http://x", 'kye = "k"'))
    listed = naru(stack, "providers", providers_file=path)
    assert listed.returncode == 1
    assert listed.stderr.startswith(f"naru providers: {path}, line 4: [providers.a]: there is no key 'kye'.")
    assert len(listed.stderr.splitlines()) == 1
    looked = naru(stack, "doctor", providers_file=path)
    assert f"NO  providers: {path}, line 4: [providers.a]: there is no key 'kye'." in looked.stdout
    started = naru(stack, "up", "--data", str(tmp_path / "data"), providers_file=path)
    assert started.returncode == 1
    assert f"naru: {path}, line 4:" in started.stderr


def test_provider_is_tested_with_a_real_call(stack: Stack, tmp_path: Path) -> None:
    simulator = stack.start_simulator()
    path = file_of(tmp_path, table("sim", simulator.url, "models = ['simulator']"))
    asked = naru(stack, "providers", "test", "sim", providers_file=path, simulator_url="")
    assert asked.returncode == 1, "an address without /v1 that is not asked for its list is used as it is"
    assert "sim/simulator failed: " in asked.stderr
    path = file_of(tmp_path, table("sim", f"{simulator.url}/v1", "models = ['simulator']"))
    asked = naru(stack, "providers", "test", "sim", providers_file=path, simulator_url="")
    assert asked.returncode == 0, asked.stderr
    assert "sim/simulator answers: " in asked.stdout
    assert "tokens of prompt and" in asked.stdout
    unknown = naru(stack, "providers", "test", "nobody", providers_file=path, simulator_url="")
    assert "there is no provider 'nobody'. There are: sim" in unknown.stderr


def test_provider_with_responses_is_shown_and_tested(stack: Stack, tmp_path: Path) -> None:
    with ResponsesServer(Responses()) as server:
        path = file_of(tmp_path, table("deep", server.url, 'api = "responses"'))
        listed = naru(stack, "providers", providers_file=path, simulator_url="")
        asked = naru(stack, "providers", "test", "deep", providers_file=path, simulator_url="")
        looked = naru(stack, "doctor", "--providers", providers_file=path, simulator_url="")
    assert "deep  openai  Responses in background  http://127.0.0.1:" in listed.stdout
    assert "deep/thinker answers: 나루에 배가 있다." in asked.stdout
    assert "streams, reports usage, marks the finish" in looked.stdout


class KeyedServer(WildServer):
    """A server that refuses every key but one."""

    def reply_to(self, call: Call) -> Reply:
        """Refuse a wrong key."""
        if call.headers.get("authorization") != "Bearer right-key":
            return json_reply({"error": {"message": "no", "code": "invalid_api_key"}}, status=401)
        return super().reply_to(call)


def test_each_member_of_a_pool_is_tried(stack: Stack, tmp_path: Path) -> None:
    """A pool hides a member that fails from people. It must not hide it from those who look for it."""
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(f"{name}-key")
        (tmp_path / name).chmod(0o600)

    def run(pool: str, *words: str) -> subprocess.CompletedProcess[str]:
        path = file_of(tmp_path, f'[providers.pool]\nkind = "openai"\n{pool}')
        return naru(stack, *words, providers_file=path, simulator_url="")

    with KeyedServer(sse(text_chunk("OK", finish_reason="stop"), DONE)) as server:
        keys = f'address = "{server.url}/v1"\nkey_files = ["right", "wrong"]'
        addresses = f'addresses = ["http://127.0.0.1:9", "{server.url}/v1"]\nkey_file = "right"'
        tested, tried = run(keys, "providers", "test", "pool"), run(keys, "doctor", "--providers")
        away = run(addresses, "providers", "test", "pool", "--model", "wild")
    first, second = (f"({place} of 2, {server.url})" for place in (1, 2))
    assert (tested.returncode, away.returncode) == (1, 1)
    assert f"pool/wild {first} answers: OK" in tested.stdout
    assert f"pool/wild {second} failed: auth_failed" in tested.stderr
    assert f"ok  pool {first}: accepts the key" in tried.stdout
    assert f"NO  pool {second}: {server.url} refuses the key" in tried.stdout
    assert "asking 1 model one question each, and 1 more with the other keys or addresses," in tried.stdout
    assert f"ok  pool/wild {first}: streams" in tried.stdout
    assert f"NO  pool/wild {second}: " in tried.stdout
    assert "pool/wild (1 of 2, http://127.0.0.1:9) failed: connect_failed" in away.stderr
    assert f"pool/wild {second} answers: OK" in away.stdout
    assert not any("-key" in each.stdout + each.stderr for each in (tested, tried, away))


def test_tested_provider_shows_its_answer_without_thoughts(stack: Stack, tmp_path: Path) -> None:
    thought = {"choices": [{"index": 0, "delta": {"reasoning_content": "The person wants OK."}}]}
    with WildServer(sse(thought, text_chunk("OK", finish_reason="stop"), DONE), sse(thought, DONE)) as server:
        path = file_of(tmp_path, table("wild", f"{server.url}/v1", "models = ['wild']"))
        asked = naru(stack, "providers", "test", "wild", providers_file=path, simulator_url="")
        silent = naru(stack, "providers", "test", "wild", providers_file=path, simulator_url="")
    assert asked.stdout.startswith("wild/wild answers: OK\n"), asked.stdout + asked.stderr
    assert TEST_TOKENS in server.calls[0].body.values()
    assert "wild/wild answers, but writes no text within 256 tokens" in silent.stdout, silent.stdout + silent.stderr


def test_models_are_hidden_and_ordered(stack: Stack, engine: Engine) -> None:
    assert naru(stack, "providers", "hide", "gateway/*-old").returncode == 0
    assert naru(stack, "providers", "order", "gateway/c-old", "gateway/b-old").returncode == 0
    shown = [(model.name, model.hidden) for model in fleet(engine).models]
    assert shown == [("gateway/c-old", True), ("gateway/b-old", True), ("gateway/a", False)]
    assert naru(stack, "providers", "show", "gateway/*").returncode == 0
    assert naru(stack, "providers", "order").returncode == 0
    assert [model.name for model in fleet(engine).models if not model.hidden] == [
        "gateway/a",
        "gateway/b-old",
        "gateway/c-old",
    ]
    refused = naru(stack, "providers", "hide", "nobody/*")
    assert "no model on offer matches 'nobody/*'" in refused.stderr
    assert "is not provider/model" in naru(stack, "providers", "hide", "a").stderr


def test_facts_are_shown_and_forgotten(stack: Stack, engine: Engine, tmp_path: Path) -> None:
    learn(engine, "gateway/a", "no_temperature", True)
    assert "gateway/a\n  no_temperature = True" in naru(stack, "providers", "facts").stdout
    learn(engine, "moved/a", "longest_output", 300, ["elsewhere"])
    path = file_of(tmp_path, table("moved", "http://127.0.0.1:9"))
    shown = naru(stack, "providers", "facts", providers_file=path).stdout
    assert "  longest_output = 300  (learnt at another address, not used)" in shown
    assert "answers have at most" not in shown
    assert naru(stack, "providers", "forget", "gateway/a").returncode == 0
    assert "nothing is known about gateway/a" in naru(stack, "providers", "forget", "gateway/a").stderr


def test_up_names_the_provider_without_a_model(stack: Stack, engine: Engine) -> None:
    absent = [AbsentProvider(title="Our gateway", problem="no_list")]
    member = Member(worker_id=uuid4(), host="h", pid=2, version="0", slots=1, models=(), absent=absent)
    register(engine, member, lease_seconds=900)
    (line,) = absent_lines(stack.database_url)
    assert line.startswith("  No model: Our gateway has no list of models below its address.")
