"""A guest's link: another browser becomes the same guest, after a click, until the link is revoked."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from shared.people import Owner, guest_links
from shared.postgres.database import transaction
from tests.stack import Process, Stack
from tests.web.clients import browser
from tests.web.fake_worker import FakeWorker
from tests.web.visitors import FAILURES, Visitor, says, visit


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start a web process for guests."""
    return stack.start_web(sign_in_failures=FAILURES)


@pytest.fixture
def guest(stack: Stack, web: Process) -> tuple[Visitor, Owner]:
    """A guest's browser, and its owner."""
    owner, cookie = browser(stack)
    return Visitor(web.url, dict([cookie.split("=", 1)])), owner


def make_link(visitor: Visitor) -> str:
    """Make a link on the page, and return its token."""
    made = visitor.post("/keep")
    found = re.search(rf'value="{re.escape(visitor.url)}/kept\?link=([\w-]{{43}})"', made.body)
    assert found is not None, made.body
    return found[1]


def exported(visitor: Visitor) -> str:
    return visitor.ask("/api/export?format=json").body


def test_link_opens_the_chats_in_another_browser(
    web: Process, guest: tuple[Visitor, Owner], fake_worker: FakeWorker
) -> None:
    visitor, owner = guest
    conversation_id, _ = fake_worker.question(owner)
    assert "read your chats" in visitor.ask("/keep").body
    token = make_link(visitor)
    assert token not in visitor.ask("/keep").body, "it is shown once"
    other = visit_keep(web)
    shown = other.ask(f"/kept?link={token}")
    assert "Open these chats here?" in shown.body
    assert str(conversation_id) not in exported(other), "a look changes nothing"
    assert other.post("/kept", {"link": token}).headers["location"] == "/"
    assert str(conversation_id) in exported(other)
    assert str(conversation_id) in exported(visitor)
    assert other.ask(f"/kept?link={token}").headers["location"] == "/"


def visit_keep(web: Process) -> Visitor:
    """Return a new guest's browser."""
    visitor = Visitor(web.url)
    assert visitor.ask("/keep").status == 200
    return visitor


def test_own_chats_do_not_come_along(
    stack: Stack, web: Process, guest: tuple[Visitor, Owner], fake_worker: FakeWorker
) -> None:
    """Otherwise somebody could send a link to get them."""
    token = make_link(guest[0])
    owner, cookie = browser(stack)
    conversation_id, _ = fake_worker.question(owner)
    other = Visitor(web.url, dict([cookie.split("=", 1)]))
    assert "This browser has chats of its own: 1." in other.ask(f"/kept?link={token}").body
    assert other.post("/kept", {"link": token}).status == 303
    assert str(conversation_id) not in exported(guest[0])


def test_revoked_and_replaced_links_open_nothing(web: Process, guest: tuple[Visitor, Owner]) -> None:
    visitor, _ = guest
    first = make_link(visitor)
    second = make_link(visitor)
    other = visit_keep(web)
    assert says(other.post("/kept", {"link": first}), "expired or was revoked")
    assert visitor.post("/keep/end").status == 303
    assert says(other.post("/kept", {"link": second}), "expired or was revoked")
    assert says(other.ask(f"/kept?link={second}"), "expired or was revoked")


def test_expired_link_opens_nothing(web: Process, guest: tuple[Visitor, Owner], engine: Engine) -> None:
    token = make_link(guest[0])
    with transaction(engine) as connection:
        connection.execute(text("UPDATE guest_link SET expires_at = now() - interval '1 second'"))
    assert says(visit_keep(web).post("/kept", {"link": token}), "expired or was revoked")
    assert "There is a link" not in guest[0].ask("/keep").body


def test_database_has_no_token(guest: tuple[Visitor, Owner], engine: Engine) -> None:
    token = make_link(guest[0])
    assert guest_links.browser_behind(engine, token) == UUID(guest[1].id)
    with transaction(engine) as connection:
        assert token not in str(connection.execute(text("SELECT * FROM guest_link")).all())


def test_guesses_at_links_are_limited(web: Process, guest: tuple[Visitor, Owner]) -> None:
    token = make_link(guest[0])
    other = visit_keep(web)
    statuses = [other.post("/kept", {"link": f"guess-{n}"}).status for n in range(3 * FAILURES + 1)]
    assert statuses == [400] * 3 * FAILURES + [429]
    assert other.post("/kept", {"link": token}).status == 429


@pytest.mark.parametrize("path", ["/keep", "/keep/end", "/kept"])
def test_link_forms_refuse_other_sites(guest: tuple[Visitor, Owner], engine: Engine, path: str) -> None:
    visitor, owner = guest
    token = make_link(visitor)
    for headers in ({"origin": "https://evil.example"}, {"origin": ""}, {"origin": "null"}):
        refused = visitor.post(path, {"link": token}, **headers)
        assert (refused.status, refused.data["error"]) == (403, "foreign_origin")
    assert guest_links.browser_behind(engine, token) == UUID(owner.id)


def test_page_without_links_offers_none(stack: Stack) -> None:
    visitor = Visitor(stack.start_web(guest_link_days=0).url)
    assert visitor.ask("/keep").headers["location"] == "/"
    accounts = visit(stack.start_web(auth="local"))
    assert accounts.ask("/keep").headers["location"] == "/sign-in"
