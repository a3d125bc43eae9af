"""What a worker learns from a server's list of models, over real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from shared.errors import ProviderError
from shared.vendors import ANTHROPIC, OLLAMA, OPENAI, Vendor
from tests.patience import patient
from tests.providers.asking import Answer, ask
from workers.providers.instances import Instance
from workers.providers.listing import MOST_LISTED, Listed, ListingFailed, Problem, fetch, list_models, window_of
from workers.providers.openai.adapter import OpenAIProvider

log = logging.getLogger(__name__)

#: A status and a body by path.
Replies = dict[str, tuple[int, bytes]]


def ok(body: object) -> tuple[int, bytes]:
    return 200, json.dumps(body).encode()


def data(*names: str) -> tuple[int, bytes]:
    return ok({"object": "list", "data": [{"id": name} for name in names]})


@contextmanager
def serving(replies: Replies, *, certificate: Path | None = None) -> Iterator[str]:
    """Run a server with fixed replies; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = replies.get(self.path, (404, b'{"detail":"Not Found"}'))
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if body.startswith(b"data:") else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, text: str, *args: object) -> None:
            """Log at DEBUG, not to standard error."""
            log.debug(text, *args)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def instance(address: str, vendor: Vendor = OPENAI, **values: Any) -> Instance:
    return Instance(name="x", vendor=vendor, title="X", address=address, **values)


def problem_of(each: Instance, *, seconds: float = 5) -> Problem:
    with pytest.raises(ListingFailed) as failed:
        fetch(each, seconds=seconds)
    return failed.value.problem


def test_models_beyond_the_first_50_are_found() -> None:
    with serving({"/v1/models": data(*(f"model-{n}" for n in range(3_000)))}) as url:
        models = fetch(instance(f"{url}/v1")).models
    assert len(models) == MOST_LISTED == 2_000
    assert models[-1].name == "model-1999"


def test_models_that_cannot_chat_are_left_out() -> None:
    names = ("gpt-6", "text-embedding-3-small", "whisper-1", "tts-1", "gpt-image-1", "gpt-6", "bad name", "llama")
    with serving({"/v1/models": data(*names)}) as url:
        models = fetch(instance(f"{url}/v1", exclude=("llama",))).models
    assert models == (Listed("gpt-6"),)


def test_list_gives_titles_and_windows() -> None:
    entry = {"id": "openai/gpt-4o", "name": "OpenAI:  GPT-4o", "context_length": 128_000}
    tagged = {"models": [{"name": "llama3.2:3b", "model": "llama3.2:3b"}]}
    with serving({"/models": ok([entry]), "/api/tags": ok(tagged)}) as url:
        assert fetch(instance(url)).models == (Listed("openai/gpt-4o", "OpenAI: GPT-4o", 128_000),)
        assert fetch(instance(url, OLLAMA)).models == (Listed("llama3.2:3b"),)


@pytest.mark.parametrize(
    ("entry", "window"),
    [
        ({"max_model_len": 8_192}, 8_192),
        ({"meta": {"n_ctx": 4_096, "n_ctx_train": 131_072}}, 4_096),
        ({"max_input_tokens": 1_000_000}, 1_000_000),
        ({"max_context_length": 131_072, "loaded_context_length": 4_096}, 4_096),
        ({"context_window": 32_768}, 32_768),
        ({"context_length": "8192"}, None),
        ({"max_model_len": None, "context_length": True}, None),
        ({"context_length": 0}, None),
        ({"meta": None}, None),
    ],
)
def test_window_is_read_from_the_list(entry: dict[str, Any], window: int | None) -> None:
    assert window_of(entry) == window


def test_all_pages_of_anthropic_are_read() -> None:
    pages: Replies = {
        "/v1/models": ok({"data": [{"id": "claude-a", "display_name": "Claude A"}], "has_more": True, "last_id": "a"}),
        "/v1/models?limit=1000&after_id=a": ok({"data": [{"id": "claude-b"}], "has_more": True, "last_id": "b"}),
        "/v1/models?limit=1000&after_id=b": ok({"data": [{"id": "claude-c"}], "has_more": False, "last_id": "c"}),
    }
    with serving(pages) as url:
        models = fetch(instance(url, ANTHROPIC, api_key="k")).models
    assert models == (Listed("claude-a", "Claude A"), Listed("claude-b"), Listed("claude-c"))


def test_list_that_repeats_its_page_ends() -> None:
    page = ok({"data": [{"id": "claude-a"}], "has_more": True, "last_id": "a"})
    with serving({"/v1/models": page, "/v1/models?limit=1000&after_id=a": page}) as url:
        assert fetch(instance(url, ANTHROPIC, api_key="k")).models == (Listed("claude-a"),)


def test_list_ends_at_an_invalid_next_page() -> None:
    page = ok({"data": [{"id": "claude-a"}], "has_more": True, "last_id": "\ud800"})
    with serving({"/v1/models": page}) as url:
        assert fetch(instance(url, ANTHROPIC, api_key="k")).models == (Listed("claude-a"),)


@pytest.mark.parametrize("path", ["", "/chat/completions", "/v1/chat/completions", "/v1/models", "/v1"])
def test_address_with_a_wrong_path_is_mended(path: str) -> None:
    with serving({"/v1/models": data("llama"), "/": (200, b"<html>hello</html>")}) as url:
        assert fetch(instance(f"{url}{path}")).address == f"{url}/v1"


def test_address_of_messages_is_mended() -> None:
    with serving({"/v1/models": data("claude-a")}) as url:
        for path in ("/v1", "/v1/messages"):
            assert fetch(instance(f"{url}{path}", ANTHROPIC, api_key="k")).address == url


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ((404, b"{}"), Problem.NO_LIST),
        ((401, b"{}"), Problem.KEY_REFUSED),
        ((403, b"{}"), Problem.KEY_REFUSED),
        ((503, b"busy"), Problem.SERVER_FAILS),
        ((200, b"<!doctype html><title>Sign in</title>"), Problem.NOT_A_LIST),
        ((200, b'{"error": "no"}'), Problem.NOT_A_LIST),
        ((200, b'{"data": null}'), Problem.NOT_A_LIST),
        ((200, b"[" * 100_000), Problem.NOT_A_LIST),
        ((200, b"\xff\xfe"), Problem.NOT_A_LIST),
        ((302, b""), Problem.NO_LIST),
        ((200, b'{"data": []}'), Problem.NO_MODEL),
        ((200, b'{"data": ["x", 3, null, {"id": 5}, {"id": ""}]}'), Problem.NO_MODEL),
        ((200, b'{"data": [{"id": "text-embedding-3-small"}]}'), Problem.NO_MODEL),
    ],
)
def test_bad_list_has_a_reason(reply: tuple[int, bytes], problem: Problem) -> None:
    with serving({"/v1/models": reply}) as url:
        assert problem_of(instance(f"{url}/v1")) is problem


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: ", b""])
def test_dripping_server_has_a_total_limit(head: bytes) -> None:
    with dripping(head) as (url, ended):
        assert problem_of(instance(f"{url}/v1"), seconds=0.5) is Problem.UNREACHABLE
        assert ended.wait(patient(5)), "the connection has been closed"


def test_slow_lists_take_no_thread_from_others() -> None:
    async def ask_often(url: str) -> None:
        found = [list_models(instance(f"{url}/v1"), seconds=patient(1)) for _ in range(40)]
        asking = [asyncio.create_task(each) for each in found]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(patient(0.5)):
            await asyncio.to_thread(int)
        assert all(isinstance(each, ListingFailed) for each in await asyncio.gather(*asking, return_exceptions=True))

    with dripping(b"HTTP/1.1 200 OK\r\n\r\n") as (url, _):
        asyncio.run(ask_often(url))


@contextmanager
def dripping(head: bytes) -> Iterator[tuple[str, threading.Event]]:
    """Run a server that sends `head` and then a letter every 50 ms. The event tells that a caller has gone."""
    ended = threading.Event()

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            try:
                self.request.recv(10_000)
                self.request.sendall(head)
                while True:
                    self.request.sendall(b"H")
                    time.sleep(0.05)
            except OSError:
                ended.set()

    class Server(ThreadingTCPServer):
        daemon_threads, block_on_close, request_queue_size = True, False, 100

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", ended
        server.shutdown()
        thread.join()


def test_absent_server_is_unreachable() -> None:
    with serving({}) as url:
        pass
    assert problem_of(instance(url)) is Problem.UNREACHABLE


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(
        [*made, *subject, "-keyout", path, "-out", path.with_suffix(".crt")], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def test_unknown_certificate_is_named(certificate: Path) -> None:
    with serving({"/v1/models": data("llama")}, certificate=certificate) as url:
        assert problem_of(instance(f"{url}/v1")) is Problem.CERTIFICATE
        trusted = instance(f"{url}/v1", ca_file=str(certificate.with_suffix(".crt")))
        assert fetch(trusted).models == (Listed("llama"),)


def test_missing_certificate_file_is_named(tmp_path: Path) -> None:
    each = instance("https://127.0.0.1:9", ca_file=str(tmp_path / "gone.pem"))
    assert problem_of(each) is Problem.CERTIFICATE


def test_answers_come_over_the_named_certificate(certificate: Path) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}
    stream = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()

    async def answer(url: str, ca_file: str) -> Answer:
        provider = OpenAIProvider(base_url=f"{url}/v1", ca_file=ca_file)
        try:
            return await ask(provider, "Hi")
        finally:
            await provider.close()

    with serving({"/v1/chat/completions": (200, stream)}, certificate=certificate) as url:
        assert asyncio.run(answer(url, str(certificate.with_suffix(".crt")))).text == "Hello"
        assert isinstance(asyncio.run(answer(url, "")).error, ProviderError)
