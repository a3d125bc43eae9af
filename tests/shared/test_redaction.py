"""Tests of the log's redaction: it removes text that looks like a secret, and nothing else."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from shared.logs import JsonFormatter, bound
from tests.logs.planted import HARMLESS, KEY, SECRETS

log = logging.getLogger(__name__)


def line_of(message: str, **extra: object) -> dict[str, object]:
    """Return the formatted log line, parsed."""
    record = logging.LogRecord("x", logging.INFO, "", 0, message, (), None)
    record.__dict__.update(extra)
    text = JsonFormatter("test").format(record)
    found: dict[str, object] = json.loads(text)
    return found


@pytest.mark.parametrize(("words", "secret"), SECRETS)
def test_log_redacts_secrets_anywhere(words: str, secret: str) -> None:
    for line in (line_of(words), line_of("x", error=words), line_of("x", facts={"deep": [words, 1, None]})):
        assert secret not in json.dumps(line, ensure_ascii=False)
        assert "[redacted]" in json.dumps(line)
    with bound(where=words):
        assert secret not in json.dumps(line_of("x"))


@pytest.mark.parametrize("words", HARMLESS)
def test_harmless_words_are_unchanged(words: str) -> None:
    assert line_of(words)["message"] == words


def test_private_fields_are_redacted_and_counts_kept() -> None:
    line = line_of("x", prompt="why?", content="because", api_key="1", token="t", input_tokens=3, answer=None)
    assert [line[name] for name in ("prompt", "content", "api_key", "token")] == ["[redacted]"] * 4
    assert (line["input_tokens"], line["answer"]) == (3, None)


class Echo(BaseHTTPRequestHandler):
    """A provider whose error quotes the refused key."""

    def do_POST(self) -> None:
        body = json.dumps({"error": {"message": f"Incorrect key: {self.headers['authorization']}", "code": "x"}})
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, text: str, *args: object) -> None:
        """Log at DEBUG, not to standard error."""
        log.debug(text, *args)


@pytest.fixture
def echo() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_log_omits_a_key_from_an_sdk_error(echo: str) -> None:
    import openai  # noqa: PLC0415 - only the pytest process that runs this test loads it

    with (
        openai.OpenAI(api_key=KEY, base_url=echo, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as raised,
    ):
        client.post("/x", cast_to=object, body={})
    error = raised.value
    assert KEY in str(error), "the SDK quotes the server's message"
    record = logging.LogRecord("x", logging.ERROR, "", 0, "failed: %s", (error,), (type(error), error, raised.tb))
    line = JsonFormatter("test").format(record)
    assert KEY not in line
    assert "AuthenticationError" in json.loads(line)["traceback"]
    assert "[redacted]" in json.loads(line)["message"]
