"""Every route of ours as somebody who may not use it. The routes come from the app's list."""

from __future__ import annotations

from uuid import uuid4

import pyotp
import pytest
from sqlalchemy import Engine
from starlette.routing import Route

from shared.people import codes, sessions
from shared.people.accounts import Role
from shared.people.sealing import Sealing
from shared.people.sessions import sessions_of
from tests.stack import Process, Stack, wait_until
from tests.web.clients import browser
from tests.web.fake_worker import FakeWorker
from tests.web.test_routes import FORMS, MINE, OWNED, ROUTES
from tests.web.visitors import Visitor, is_in, person_of
from web.api import make_routes

PRIVATE = [*OWNED, *(route for route in ROUTES if route.path in MINE)]
ALL = [route for route in make_routes() if isinstance(route, Route)]
#: Called by a provider, with a token as the proof (test_company_sessions.py).
TOKENS = {"/openid/logout"}
POSTED = [
    route
    for route in ALL
    if "POST" in (route.methods or ()) and route.endpoint.__module__.startswith(FORMS) and route.path not in TOKENS
]
#: Pages for people who are not signed in.
DOORS = {"/sign-in", "/sign-in/code", "/sign-in/enrol", "/sign-up", "/new-password", "/forgotten"}
DOORS |= {"/openid/begin", "/openid/callback"}
PAGES = [
    route
    for route in ALL
    if "GET" in (route.methods or ()) and route.endpoint.__module__.startswith(FORMS) and route.path not in DOORS
]
#: Pages for the roles auditor and admin.
RECORD = [route for route in PAGES if route.endpoint.__module__ == "web.api.people.record"]


def call(visitor: Visitor, route: Route, **ids: object) -> int:
    """Call the route as our own page would, and return the status."""
    path = route.path
    for name in ("conversation_id", "request_id"):
        path = path.replace("{" + name + "}", str(ids.get(name, uuid4())))
    if "POST" in (route.methods or ()):
        return visitor.post(path, x_naru="1").status
    return visitor.ask(f"{path}?format=json").status


def half_signed_in(stack: Stack, ada: Visitor, engine: Engine) -> Visitor:
    """Return a browser that has given the right password of an account with a second factor, and no code yet."""
    person, sealing = person_of(engine), Sealing(stack.settings.secret_key)
    begun = codes.begin(person.id, person.email, sealing)
    kept = sessions_of(engine, person.id, stack.settings)[0].id
    codes.switch_on(engine, person.id, begun, pyotp.TOTP(begun.secret).now(), sealing, but=kept)
    visitor = Visitor(ada.url)
    assert visitor.ask("/sign-in").status == 200
    assert visitor.sign_in().headers["location"] == "/sign-in/code"
    return visitor


@pytest.mark.parametrize("route", PRIVATE, ids=lambda route: route.path)
def test_private_routes_refuse_everybody_else(
    stack: Stack, ada: Visitor, engine: Engine, fake_worker: FakeWorker, route: Route
) -> None:
    owner = person_of(engine).owner
    conversation_id, request_id = fake_worker.question(owner)
    ids = {"conversation_id": conversation_id, "request_id": request_id}
    nobody, guest = Visitor(ada.url), Visitor(ada.url, dict([browser(stack)[1].split("=", 1)]))
    half = half_signed_in(stack, ada, engine)
    assert [call(visitor, route, **ids) for visitor in (nobody, guest, half)] == [401, 401, 401]
    other = Visitor(ada.url)
    other.sign_up(engine, "second@example.org")
    assert call(other, route, **ids) == (200 if route.path in MINE else 404)
    assert str(conversation_id) not in other.ask("/api/export?format=json").body
    sessions.end_all(engine, person_of(engine).id)
    wait_until(lambda: not is_in(ada), what="the session has ended")
    assert call(ada, route, **ids) == 401


@pytest.mark.parametrize("route", POSTED, ids=lambda route: route.path)
def test_forms_refuse_other_sites(web: Process, ada: Visitor, route: Route) -> None:
    for headers in ({"origin": "https://evil.example"}, {"origin": ""}, {"origin": "null"}):
        refused = ada.post(route.path, {"password": "x"}, **headers)
        assert (refused.status, refused.data["error"]) == (403, "foreign_origin")
    assert is_in(ada)


@pytest.mark.parametrize("auth", ["guest", "local"])
def test_company_routes_exist_only_with_a_company(stack: Stack, auth: str) -> None:
    visitor = Visitor(stack.start_web(auth=auth).url)
    expected = "/" if auth == "guest" else "/sign-in"
    answers = [visitor.ask("/openid/begin"), visitor.ask("/openid/callback?code=x"), visitor.post("/openid/logout")]
    assert [(each.status, each.headers["location"]) for each in answers] == [(303, expected)] * 3


@pytest.mark.parametrize("route", POSTED, ids=lambda route: route.path)
def test_forms_of_nobody_change_nothing(web: Process, route: Route) -> None:
    answer = Visitor(web.url).post(route.path)
    assert answer.status in {303, 400}
    assert answer.status == 400 or answer.headers["location"].partition("?")[0] == "/sign-in"


@pytest.mark.parametrize("route", PAGES, ids=lambda route: route.path)
def test_pages_send_nobody_to_the_sign_in(web: Process, ada: Visitor, engine: Engine, route: Route) -> None:
    sessions.end_all(engine, person_of(engine).id)
    wait_until(lambda: not is_in(ada), what="the session has ended")
    for visitor in (Visitor(web.url), ada):
        answer = visitor.ask(route.path)
        assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/sign-in")


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("route", RECORD, ids=lambda route: route.path)
def test_record_needs_a_role(web: Process, ada: Visitor, engine: Engine, route: Route, role: Role) -> None:
    visitor = Visitor(web.url)
    assert visitor.sign_up(engine, "second@example.org", role=role.value).status == 303
    assert visitor.ask(route.path).status == (403 if role is Role.USER else 200)
