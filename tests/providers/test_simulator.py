"""Tests of the simulator itself: the answers and faults that other tests rely on."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from uuid import uuid4

import pytest

from tests.patience import patient
from tests.providers.asking import Answer, AnyProvider, Simulator, Wire, ask
from tests.providers.conftest import ROOT
from workers.simulator import text_for, tokens_for
from workers.simulator.script import BadScript, read
from workers.simulator.text import marked_tokens


def test_demo_answer_names_itself_in_the_question_language() -> None:
    assert "demo simulator" in text_for("Hello?")
    assert "데모 시뮬레이터" in text_for("안녕?")
    assert "OPENAI_API_KEY" in text_for("안녕?")


def test_answer_is_a_function_of_the_question() -> None:
    questions = [f"question {number}" for number in range(40)]
    texts = [text_for(question) for question in questions]
    assert texts == [text_for(question) for question in questions]
    for markdown in ("\n- ", "\n| ", "\n```python\n", "\n1. ", "$"):
        assert any(markdown in text for text in texts), markdown


@pytest.mark.parametrize("tokens", [0, 1, 7, 500])
def test_answer_has_the_requested_number_of_tokens(tokens: int) -> None:
    assert len(tokens_for(f"[[sim: tokens={tokens}]] 셋")) == tokens


def test_simulator_reads_a_directive_anywhere() -> None:
    script, rest = read('before [[sim: tokens=3  pace=0.5\n text="a \\"b\\"\\nc" echo]] after')
    assert (script.tokens, script.pace, script.text, script.echo) == (3, 0.5, 'a "b"\nc', True)
    assert rest == "before  after"


def test_tokens_of_any_size_make_the_text(wire: Wire) -> None:
    message = r'[[sim: text="a\u001b\u0000\ud800나\\u" repeat=3 size=4 pace=0]]'
    assert tokens_for(message) == ["a\x1b\0\ud800", "나\\ua", "\x1b\0\ud800나", "\\ua\x1b", "\0\ud800나\\", "u"]
    # The worker mends what UTF-8 or Postgres cannot store.
    assert wire.ask(message).text == "a\x1b\ufffd나\\u" * 3


@pytest.mark.parametrize(
    "inside", ["tokens=x", "fault=nope", "nope=1", "fault=200", "=", "finish=never", "quirks=x", "shape=x", "most=x"]
)
def test_simulator_refuses_an_unreadable_directive(wire: Wire, inside: str) -> None:
    with pytest.raises(BadScript):
        read(f"[[sim: {inside}]]")
    answer = wire.ask(f"[[sim: {inside}]]")
    assert answer.error is not None
    assert answer.error.code == "bad_request"


def test_fault_can_end_after_some_calls(wire: Wire) -> None:
    message = f"[[sim: fault=500 times=2 key={uuid4().hex} tokens=3]]"
    answers = [wire.ask(message) for _ in range(3)]
    assert [answer.error is None for answer in answers] == [False, False, True]


def test_simulator_keeps_the_pace(wire: Wire) -> None:
    answer = wire.ask("[[sim: tokens=31 pace=50 first=0.2]]")
    assert 0.8 <= answer.seconds < patient(1.6)


def test_tokens_can_carry_the_server_clock(wire: Wire) -> None:
    before = time.time_ns()
    answer = wire.ask("[[sim: tokens=20 pace=100 emit=clock]]")
    stamps = [int(stamp) for stamp in re.findall(r"@(\d+) ", answer.text)]
    assert len(stamps) == 20
    times = [before, *stamps, time.time_ns()]
    assert times == sorted(times)


def test_tokens_can_name_their_call(wire: Wire) -> None:
    first, second = (wire.ask("[[sim: tokens=5 pace=0 first=0 emit=call]]").text for _ in range(2))
    calls = set(re.findall(r"@(\d+) ", first))
    assert len(calls) == 1
    assert first == "".join(marked_tokens(int(calls.pop()), 5))
    assert first != second


def test_log_holds_times_and_no_text(wire: Wire) -> None:
    before = time.time()
    answer = wire.ask("[[sim: tokens=5 first=0.1]] a-private-question")
    events = wire.simulator.events(answer.trace)
    assert [event["event"] for event in events] == ["start", "first", "end"]
    assert before <= events[0]["at"] <= events[1]["at"] - 0.09
    assert events[2]["sent"] == 5
    assert "a-private-question" not in wire.simulator.log.read_text("utf-8")


def test_simulator_serves_only_its_paths(simulator: Simulator) -> None:
    with urllib.request.urlopen(f"{simulator.url}/v1/models") as reply:
        assert [model["id"] for model in json.load(reply)["data"]] == ["simulator"]
    with urllib.request.urlopen(f"{simulator.url}/healthz") as reply:
        assert reply.status == 200
    for path, data in (("/nope", None), ("/v1/messages", b"{}"), ("/v1/messages", b"\xff")):
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(f"{simulator.url}{path}", data=data)
        failed.value.close()
        assert failed.value.code in {400, 404}


def posted(url: str, wire: Wire, directive: str) -> tuple[int, str, bytes]:
    """Return the status, the type and the body of one call, in the wire format."""
    path = "/v1/messages" if wire.name == "anthropic" else "/v1/chat/completions"
    asked = {"model": "m", "stream": True, "messages": [{"role": "user", "content": f"[[sim: {directive}]] Hello"}]}
    try:
        with urllib.request.urlopen(f"{url}{path}", data=json.dumps(asked).encode(), timeout=patient(10)) as reply:
            return reply.status, reply.headers["content-type"], reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read()


def test_reply_takes_the_shape_of_another_server(wire: Wire) -> None:
    url = wire.simulator.url
    assert posted(url, wire, "tokens=2 shape=bom")[2].startswith(b"\xef\xbb\xbf")
    status, kind, body = posted(url, wire, "text=whole shape=json")
    assert (status, kind) == (200, "application/json")
    assert "whole" in json.dumps(json.loads(body))
    status, kind, body = posted(url, wire, "shape=error")
    assert (status, kind) == (200, "application/json")
    assert json.loads(body)["error"]
    thinking = posted(url, wire, "text=ok shape=thinking thoughts=4")[2]
    assert thinking.count(b'"hm "') == 4
    if wire.name == "openai":
        assert posted(url, wire, "text=ok shape=reasoning_content")[2].count(b'{"reasoning_content":"hm "}') == 3
        assert b'"content":"<th"' in posted(url, wire, "text=ok shape=think")[2]
        assert b'{"content":[{"type":"text","text":"ok"}]}' in posted(url, wire, "text=ok shape=list")[2]
        unfinished = posted(url, wire, "text=ok shape=nofinish")[2]
        assert b'"finish_reason":"stop"' not in unfinished
        assert unfinished.endswith(b"data: [DONE]\n\n")


def test_server_can_be_away_for_a_while(wire: Wire) -> None:
    directive = f"tokens=1 down={patient(0.5)} key={uuid4().hex}"
    url = wire.simulator.url
    assert posted(url, wire, directive)[0] == 503
    end = time.monotonic() + patient(10)
    while posted(url, wire, directive)[0] == 503:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert posted(url, wire, directive)[0] == 200


def test_server_can_answer_one_at_a_time() -> None:
    options = ("--script", "first=0.3 tokens=2", "--slots", "1", "--window", "4096", "--pace", "0")
    argv = [sys.executable, "-m", "workers.simulator", *options]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        simulator = Simulator(process.stdout.readline().strip().rpartition(" ")[2], ROOT)
        with urllib.request.urlopen(f"{simulator.url}/v1/models") as reply:
            assert json.load(reply)["data"][0]["max_model_len"] == 4096

        async def leave_and_ask(provider: AnyProvider) -> tuple[float, list[Answer]]:
            impatient = asyncio.create_task(ask(provider, "[[sim: first=60]]"))
            await asyncio.sleep(0.2)
            waiting = asyncio.create_task(ask(provider, "waits and leaves"))
            await asyncio.sleep(0.2)
            began = time.monotonic()
            for task in (waiting, impatient):
                task.cancel()
            await asyncio.wait([waiting, impatient])
            answers = await asyncio.gather(*(ask(provider, f"question {number}") for number in range(4)))
            return time.monotonic() - began, answers

        seconds, answers = Wire("openai", simulator).run(leave_and_ask)
        process.terminate()
    assert all(answer.done for answer in answers)
    assert seconds >= 4 * 0.3, "one after the other"


def test_simulator_refuses_a_bad_script_at_its_start() -> None:
    argv = [sys.executable, "-m", "workers.simulator", "--script", "quirks=nope"]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=patient(20))
    assert ended.returncode == 2
    assert "quirks=nope is not possible" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_simulator_stops_at_once_with_open_streams(number: signal.Signals) -> None:
    argv = [sys.executable, "-m", "workers.simulator", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = int(process.stdout.readline().strip().rpartition(":")[2])
        body = json.dumps(
            {"stream": True, "messages": [{"role": "user", "content": "[[sim: tokens=10000 pace=10]]"}]}
        ).encode()
        head = f"POST /v1/messages HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head + body)
            assert client.recv(100)
            process.send_signal(number)
            assert process.wait(patient(3)) == 0
        assert process.stderr.read() == ""


def test_slow_reader_gets_the_complete_answer_in_order(wire: Wire) -> None:
    # 20 MB, more than the socket buffers hold: most of it waits in the simulator.
    message = "[[sim: tokens=400 size=50000 pace=1000 first=0]]"
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": message}]}).encode()
    address = urllib.parse.urlsplit(wire.simulator.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=patient(10)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        time.sleep(1)
        come = b""
        while not come.endswith(b"\r\n0\r\n\r\n"):
            come += connection.recv(2**20)
    events = re.findall(rb"data: (\{.*\})\n\n", come)
    said = [(json.loads(event)["choices"] or [{}])[0].get("delta", {}).get("content") or "" for event in events]
    assert [text for text in said if text] == tokens_for(message)
