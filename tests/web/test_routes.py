"""Tests that each of our routes refuses strangers, other sites and malformed ids.

The routes come from the app's list, so a new route is tested here unless it is listed as open.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from uuid import UUID, uuid4

import pytest
from starlette.routing import Route

from tests.stack import Process, Stack
from tests.web.clients import Answered, ask, browser
from tests.web.fake_worker import FakeWorker
from web.api import make_routes

#: Routes that reveal nothing about anybody and change nothing.
OPEN = {
    "/",
    "/page.css",
    "/shell.js",
    "/early.js",
    "/live.js",
    "/colours.js",
    "/favicon.png",
    "/healthz",
    "/readyz",
    "/metrics",
}
OPEN |= {"/api/banner", "/{path:path}", "/favicon.ico", "/manifest.json"}
#: Routes that answer with what the browser's own owner has.
MINE = {"/api/export"}
#: The forms around an account have tests of their own (tests/web/people/test_access.py).
FORMS = "web.api.people."
ROUTES = [
    route for route in make_routes() if isinstance(route, Route) and not route.endpoint.__module__.startswith(FORMS)
]
OWNED = [route for route in ROUTES if route.path not in OPEN | MINE]
SENSELESS = ["x'y", "0", "%00", "..%2f..%2fetc%2fpasswd", "%F0%9F%98%80", "a" * 5000, str(UUID(int=0)) + "0"]


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: each test changes its own rows only."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start the web process."""
    return stack.start_web()


def call(web: Process, route: Route, *, ids: Mapping[str, object], **headers: str) -> Answered:
    """Call the route by its method, with these ids in the path."""
    path = route.path
    for name, value in ids.items():
        path = path.replace("{" + name + "}", str(value))
    assert "{" not in path, "a new kind of id: add its owner here"
    return ask(web.url, path, method="POST" if "POST" in (route.methods or ()) else "GET", **headers)


def is_sentence(answer: Answered) -> bool:
    return bool(answer.data["error"]) and answer.data["message"].endswith(".")


def test_routes_without_an_id_are_open() -> None:
    assert {route.path for route in ROUTES} >= OPEN
    assert all("{" in route.path for route in OWNED), "a route without an id must be in OPEN"


@pytest.mark.parametrize("route", OWNED, ids=lambda route: route.path)
def test_routes_hide_foreign_objects(stack: Stack, web: Process, fake_worker: FakeWorker, route: Route) -> None:
    owner, _ = browser(stack)
    _, stranger = browser(stack)
    conversation_id, request_id = fake_worker.question(owner)
    theirs = {"conversation_id": conversation_id, "request_id": request_id}
    refused = call(web, route, ids=theirs, cookie=stranger, x_naru="1")
    assert (refused.status, is_sentence(refused)) == (404, True)
    unknown = call(web, route, ids=theirs, x_naru="1")
    assert (unknown.status, is_sentence(unknown)) == (401, True)
    forged = call(web, route, ids=theirs, cookie=stranger[:-4] + "AAAA", x_naru="1")
    assert (forged.status, is_sentence(forged)) == (401, True)


@pytest.mark.parametrize("route", OWNED, ids=lambda route: route.path)
def test_another_site_reaches_nothing(stack: Stack, web: Process, fake_worker: FakeWorker, route: Route) -> None:
    owner, cookie = browser(stack)
    conversation_id, request_id = fake_worker.question(owner)
    ids = {"conversation_id": conversation_id, "request_id": request_id}
    for foreign in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}):
        refused = call(web, route, ids=ids, cookie=cookie, x_naru="1", **foreign)
        assert (refused.status, is_sentence(refused)) == (403, True), foreign
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("senseless", SENSELESS, ids=lambda text: text[:12])
@pytest.mark.parametrize("route", OWNED, ids=lambda route: route.path)
def test_routes_explain_malformed_ids(stack: Stack, web: Process, route: Route, senseless: str) -> None:
    _, cookie = browser(stack)
    answer = call(web, route, ids={"conversation_id": senseless, "request_id": senseless}, cookie=cookie, x_naru="1")
    assert 400 <= answer.status < 500
    assert "Traceback" not in answer.body
    if answer.headers.get("content-type") == "application/json":
        assert is_sentence(answer)


def test_huge_headers_and_other_methods_are_refused(stack: Stack, web: Process) -> None:
    _, cookie = browser(stack)
    path = f"/api/conversations/{uuid4()}/events"
    assert ask(web.url, path, cookie=cookie, x_long="x" * 100_000).status == 400
    assert ask(web.url, path, method="DELETE", cookie=cookie).status == 405
    assert ask(web.url, "/healthz").status == 200, "the server still works"


def test_date_header_is_recent(web: Process) -> None:
    # The server renews the header at a tick, which web has slowed down.
    for _ in range(3):
        time.sleep(1)
        age = datetime.now(UTC) - parsedate_to_datetime(ask(web.url, "/healthz").headers["date"])
        assert timedelta() <= age < timedelta(seconds=3)
