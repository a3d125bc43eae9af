"""Tests that Flower answers known hosts only, as the page does; probes and Prometheus may use any host."""

from __future__ import annotations

import base64

import pytest

from tests.stack import Process, Stack, free_port, get, wait_until
from tests.web.clients import ask

AUTHORIZATION = "Basic " + base64.b64encode(b"naru:of-this-test").decode()


@pytest.fixture
def flower(stack: Stack) -> Process:
    """Start Flower as `up` does, but under a prefix as in compose."""
    port = free_port()
    words = ("--address=127.0.0.1", f"--port={port}", "--basic_auth=naru:of-this-test", "--url_prefix=flower")
    process = stack.run("flower", "-m", "workers.flower", *words, allowed_hosts="chat.example.org")
    process.url = f"http://127.0.0.1:{port}"
    wait_until(lambda: get(f"{process.url}/flower/healthcheck")[0] == 200, seconds=60, what="Flower answers")
    return process


def test_flower_refuses_unknown_hosts(flower: Process) -> None:
    for host, status in {"127.0.0.1": 200, "localhost:5555": 200, "chat.example.org": 200}.items():
        assert ask(flower.url, "/flower/workers", host=host, authorization=AUTHORIZATION).status == status, host
    for host in ("evil.test", "10.1.2.3", "127.0.0.1.evil.test", "localhost, evil.test"):
        for path in ("/flower/workers", "/flower/api/tasks", "/flower/static/js/flower.js", "/worker/metrics"):
            refused = ask(flower.url, path, host=host, authorization=AUTHORIZATION)
            assert refused.status in {400, 421}, (host, path)
    assert "NARU_ALLOWED_HOSTS" in ask(flower.url, "/flower/workers", host="evil.test").body
    assert ask(flower.url, "/flower/workers", method="POST", host="evil.test").status in {403, 421}
    for path in ("/flower/healthcheck", "/flower/metrics"):
        assert ask(flower.url, path, host="flower:5555").status == 200
