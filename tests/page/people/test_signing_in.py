"""A person's way through the account pages in Chromium: invitation, chat, end of the session, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine

from shared import audit
from shared.audit import Kind
from shared.audit.events import Filter, newest
from shared.people import accounts, links, sessions
from shared.postgres.database import transaction
from tests.page.people.account_pages import NARROW, WIDE, sign_up, violations
from tests.page.person import Person, visitor
from tests.patience import patient_ms
from tests.stack import Stack
from tests.web.visitors import EMAIL, PASSWORD

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    """The address of a page that needs accounts, with a worker and the simulator behind it."""
    stack.start_simulator()
    stack.start_worker()
    return stack.start_web(auth="local").url


@pytest.fixture
def person(browser: Browser, url: str, engine: Engine) -> Iterator[Person]:
    """A person who has made an account in the browser."""
    with visitor(browser, url) as found:
        sign_up(found.page, url, engine)
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        yield found


def sign_in(page: Page, password: str = PASSWORD) -> None:
    page.locator("#email").fill(EMAIL)
    page.locator("#password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_invitation_leads_to_an_answered_question(person: Person) -> None:
    person.ask("[[sim: tokens=5]] hello")
    person.wait_for_end()
    expect(person.page.locator(".naru-who")).to_contain_text(EMAIL)
    person.page.get_by_role("link", name="Account").click()
    expect(person.page.get_by_text("This device")).to_be_visible()
    person.page.get_by_role("button", name="Sign out", exact=True).click()
    expect(person.page).to_have_url(re.compile("/sign-in$"))
    sign_in(person.page, "wrong password")
    expect(person.page.get_by_role("alert")).to_contain_text("password is wrong")
    expect(person.page.locator("#email")).to_have_value(EMAIL)
    person.page.locator("#password").fill(PASSWORD)
    person.page.get_by_role("button", name="Sign in").click()
    expect(person.page.get_by_text("hello").first).to_be_visible(timeout=patient_ms(20))


def test_ended_session_keeps_the_typed_text(person: Person, engine: Engine) -> None:
    person.ask("[[sim: tokens=5]] first")
    person.wait_for_end()
    address = person.page.url
    person.composer.fill("half a sentence")
    sessions.end_all(engine, accounts.person_with(engine, EMAIL).id)
    notice = person.page.get_by_role("alert").filter(has_text="You are signed out")
    expect(notice).to_be_visible(timeout=patient_ms(20))
    expect(person.page.get_by_text("first")).to_be_hidden()
    person.page.get_by_role("link", name="Sign in").click()
    sign_in(person.page)
    expect(person.composer).to_have_value("half a sentence", timeout=patient_ms(20))
    assert person.page.url == address
    expect(person.answers).to_have_count(1)


def test_deleted_and_read_chats_are_recorded_and_told(person: Person, engine: Engine) -> None:
    person.ask("[[sim: tokens=5]] first")
    person.wait_for_end()
    person.page.locator(".st-key-conversation-menu button").first.click()
    person.page.get_by_text("Delete", exact=True).click()
    person.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(person.page.locator(".st-key-empty")).to_be_visible(timeout=patient_ms(20))
    key = accounts.person_with(engine, EMAIL).owner.key
    (event,) = newest(engine, Filter(kind=Kind.CONVERSATION_DELETED, person=key), most=5)
    assert (event.address, len(event.http_id)) == ("127.0.0.1", 32)
    with audit.acting("terminal"), transaction(engine) as connection:
        audit.record(connection, Kind.CHATS_READ, subject=key, reason="court order", conversations=1)
    expect(person.page.locator(".naru-read")).to_have_count(0)
    person.page.reload()
    person.page.locator(".naru-read a").click(timeout=patient_ms(20))
    expect(person.page.get_by_role("alert")).to_contain_text("An administrator read a chat of yours")
    expect(person.page.get_by_text("court order")).to_be_visible()
    person.page.get_by_role("button", name="I have seen this").click()
    expect(person.page.get_by_role("alert")).to_have_count(0)
    person.page.get_by_role("link", name="Back to the chats").click()
    expect(person.composer).to_be_visible(timeout=patient_ms(20))
    expect(person.page.locator(".naru-read")).to_have_count(0)


@pytest.mark.parametrize("look", [("light", "ko-KR", WIDE), ("dark", "en-US", NARROW)], ids=["wide", "narrow"])
def test_axe_finds_nothing_on_account_pages(
    browser: Browser, url: str, engine: Engine, look: tuple[str, str, dict[str, int]]
) -> None:
    scheme, locale, size = look
    with visitor(browser, url, color_scheme=scheme, locale=locale, viewport=size) as found:
        page = found.page
        page.goto(f"{url}/sign-in")
        assert violations(page) == []
        page.goto(f"{url}/sign-up?invitation=none")
        assert violations(page) == []
        page.goto(f"{url}/sign-up?invitation={links.invite(engine, 'user', days=1)}")
        page.locator("#email").fill(EMAIL)
        page.locator("#password").fill("password123")
        page.locator("button[type=submit]").click()
        expect(page.get_by_role("alert")).to_be_visible()
        assert violations(page) == []
        page.locator("#password").fill(PASSWORD)
        page.locator("button[type=submit]").click()
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        with audit.acting("terminal"), transaction(engine) as connection:
            key = accounts.person_with(engine, EMAIL).owner.key
            audit.record(connection, Kind.CHATS_READ, subject=key, reason="court order", conversations=1)
        for path in ("/account", "/audit", f"/audit?kind=signed_in&person={EMAIL}", "/audit?day=never"):
            page.goto(f"{url}{path}")
            assert violations(page) == [], path
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), path
