"""Follows a question by its id through the logs of real processes: nginx, web, Celery's hint, worker, provider.

The person uses Chromium in front of a real nginx with the access log of `deploy/nginx/log.conf`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from deploy.embedded.processes import ROOT, Command
from tests.e2e.visitor import Visitor
from tests.patience import patient
from tests.stack import NO_PROXY, Process, Stack, free_port, get, start, wait_until

pytestmark = pytest.mark.browser
QUESTION, ANSWER = "a-question-that-nobody-else-asks", "an-answer-that-nobody-else-gives"

SITE = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    include {formats};
    access_log {folder}/access.log naru if=$naru_logged;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {web}; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 60s;
            proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade; proxy_set_header X-Request-ID $request_id;
        }}
    }}
}}
"""


@pytest.fixture
def nginx(stack: Stack, tmp_path: Path) -> Process:
    """Return nginx in front of the stack's web; its `log` is the access log."""
    program = shutil.which("nginx", path=f"{os.defpath}:/usr/sbin")
    if program is None:
        (pytest.fail if os.environ.get("NARU_TEST_STRICT") == "1" else pytest.skip)("no nginx here: apt install nginx")
    # Even at DEBUG, the logs hold no text of a question or an answer.
    stack.configure(log_level="DEBUG")
    stack.start_simulator()
    stack.start_worker()
    web = stack.start_web()
    folder, port = tmp_path / "nginx", free_port()
    folder.mkdir()
    formats = ROOT / "deploy" / "nginx" / "log.conf"
    site = SITE.format(folder=folder, formats=formats, port=port, web=web.url)
    (folder / "nginx.conf").write_text(site)
    argv = (program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf"))
    process = start(Command(name="nginx", argv=argv, environ=stack.environ()), log=folder / "output.log")
    stack.processes.append(process)
    process.url = f"http://127.0.0.1:{port}"
    wait_until(lambda: get(process.url + "/healthz")[0] == 200, seconds=10, what="nginx answers")
    process.log = folder / "access.log"
    return process


def lines(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, each of which must be JSON."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def one(found: list[dict[str, Any]], message: str) -> dict[str, Any]:
    """Return the only line with this message."""
    (line,) = [each for each in found if each["message"] == message]
    return line


def of_part(stack: Stack, part: str) -> list[dict[str, Any]]:
    (process,) = [each for each in stack.processes if each.command.name == part]
    return lines(process.log)


def test_every_log_has_the_ids_of_a_question(stack: Stack, nginx: Process, browser: Browser) -> None:
    person = Visitor(browser, nginx)
    person.ask(f'{QUESTION} [[sim: text="{ANSWER}" pace=200]]')
    wait_until(lambda: any(line["message"] == "attempt ended" for line in of_part(stack, "worker")), what="an answer")
    person.sees(ANSWER)
    person.close()

    submitted = one(of_part(stack, "web"), "submitted")
    request_id, http_request_id = submitted["request_id"], submitted["http_request_id"]
    conversation_id = submitted["conversation_id"]

    # nginx logs a WebSocket when it ends.
    sockets = wait_until(lambda: [line for line in lines(nginx.log) if line["http_status"] == 101], what="its end")
    assert http_request_id in {line["http_request_id"] for line in sockets}
    streams = [line["path"] for line in lines(nginx.log) if line["conversation_id"] == conversation_id]
    assert set(streams) == {f"/api/conversations/{conversation_id}/events"}
    assert not [line for line in lines(nginx.log) if line["path"] == "/healthz"], "a successful probe is not logged"
    assert "?" not in "".join(line["path"] for line in lines(nginx.log)), "no query string"

    worker = [line for line in of_part(stack, "worker") if line.get("request_id") == request_id]
    assert {"claimed", "attempt ended"} <= {line["message"] for line in worker}
    assert {line.get("http_request_id") for line in worker} == {http_request_id}, "the row carried it"
    ended = one(worker, "attempt ended")
    assert (ended["conversation_id"], ended["outcome"]) == (conversation_id, "succeeded")
    assert ended["output_tokens"] > 0
    assert 0 < ended["first_token_seconds"] <= ended["attempt_seconds"] <= ended["response_seconds"] < 30

    calls = [json.loads(line) for line in stack.calls_log.read_text().splitlines()]
    (call,) = {each["call"] for each in calls if each["trace"] == request_id}
    assert ended["provider_request_id"] == f"req_sim_{call}", "the provider's own id of the call"

    for process in stack.processes:
        assert not [words for words in (QUESTION, ANSWER) if words in process.log_text()], process.command.name

    (web,) = [each for each in stack.processes if each.command.name == "web"]
    assert answered_as(web, "from-a-proxy.1") == "from-a-proxy.1"
    made = {answered_as(web, given) for given in ("", "short", "x" * 65, "two words", '"},{"level":"ERROR"')}
    assert len(made) == 5, "an invalid id is replaced"
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in made)


def answered_as(web: Process, http_request_id: str) -> str:
    """Return the id in web's answer to a request with the given id."""
    request = urllib.request.Request(web.url + "/healthz", headers={"X-Request-ID": http_request_id})
    with NO_PROXY.open(request, timeout=patient(5)) as answer:
        return str(answer.headers["x-request-id"])
