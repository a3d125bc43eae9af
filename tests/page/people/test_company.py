"""A person's way through company sign-in in Chromium: the button, the provider's form, the chat, and back out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine

from shared.people import accounts, sessions
from shared.people.accounts import Role
from tests.page.people.account_pages import NARROW, WIDE, violations
from tests.page.person import Person, visitor
from tests.patience import patient_ms
from tests.stack import Stack
from tests.web.company import Company, start_company, start_web
from tests.web.visitors import EMAIL, Visitor
from web.openid.tokens import LOGOUT_EVENT

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def company(stack: Stack) -> Company:
    """Start the provider."""
    return start_company(stack)


@pytest.fixture(scope="module")
def url(stack: Stack, company: Company) -> str:
    """The address of a page that the company's people may use, with a worker and the simulator behind it."""
    stack.start_simulator()
    stack.start_worker()
    return start_web(stack, company, auth="local+oidc", oidc_roles="admin=naru-admins").url


@pytest.fixture(autouse=True)
def _as_usual(company: Company) -> None:
    company.behave(forget=True)


@pytest.fixture
def person(browser: Browser, url: str) -> Iterator[Person]:
    """A person whom the company has signed in."""
    with visitor(browser, url) as found:
        found.page.goto(url)
        sign_in(found.page)
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        yield found


def sign_in(page: Page, go: str = "Continue") -> None:
    page.get_by_role("link", name="Sign in with your company account").click()
    expect(page).to_have_title("The company")
    page.get_by_label("Name").fill("ada")
    page.get_by_role("button", name=go).click()


def test_company_account_leads_to_an_answered_question(person: Person) -> None:
    person.ask("[[sim: tokens=5]] hello")
    person.wait_for_end()
    expect(person.page.locator(".naru-who")).to_contain_text(EMAIL)
    person.page.get_by_role("link", name="Account").click()
    expect(person.page.get_by_text("This device")).to_be_visible()
    person.page.get_by_role("button", name="Sign out", exact=True).click()
    person.page.get_by_role("link", name="Sign out of the company account too").click()
    person.page.get_by_role("link", name="Back").click()
    expect(person.page).to_have_url(re.compile("/sign-in$"))
    sign_in(person.page)
    expect(person.page.get_by_text("hello").first).to_be_visible(timeout=patient_ms(20))


def test_company_sign_in_keeps_the_typed_text(person: Person, engine: Engine) -> None:
    person.ask("[[sim: tokens=5]] first")
    person.wait_for_end()
    address = person.page.url
    person.composer.fill("half a sentence")
    sessions.end_all(engine, accounts.person_with(engine, EMAIL).id)
    notice = person.page.get_by_role("alert").filter(has_text="You are signed out")
    expect(notice).to_be_visible(timeout=patient_ms(20))
    person.page.get_by_role("link", name="Sign in").click()
    sign_in(person.page)
    expect(person.composer).to_have_value("half a sentence", timeout=patient_ms(20))
    assert person.page.url == address
    expect(person.answers).to_have_count(1)


def test_logout_at_the_company_closes_the_open_page(person: Person, company: Company) -> None:
    person.ask("[[sim: tokens=5]] secret plans")
    person.wait_for_end()
    token = company.mint(sub="sub-ada", events={LOGOUT_EVENT: {}})
    assert Visitor(person.url).post("/openid/logout", {"logout_token": token}, origin="").status == 200
    notice = person.page.get_by_role("alert").filter(has_text="You are signed out")
    expect(notice).to_be_visible(timeout=patient_ms(20))
    expect(person.page.get_by_text("secret plans")).to_be_hidden()


def test_person_cancels_and_enters_with_a_new_role(
    browser: Browser, url: str, engine: Engine, company: Company
) -> None:
    with visitor(browser, url) as found:
        found.page.goto(url)
        sign_in(found.page, "Cancel")
        expect(found.page.get_by_role("alert")).to_contain_text("You cancelled the sign-in.")
        company.behave(people={"ada": {"groups": ["naru-admins"]}})
        sign_in(found.page)
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        assert accounts.person_with(engine, EMAIL).role is Role.ADMIN
        found.errors.clear()  # the page with the alert has the status 400


def test_person_deletes_the_account_by_a_word(person: Person, engine: Engine) -> None:
    person.page.goto(f"{person.url}/account")
    person.page.get_by_label("to confirm").fill("delete")
    person.page.get_by_role("button", name="Delete my account").click()
    expect(person.page.get_by_role("status")).to_contain_text("Your account is deleted")
    assert accounts.everyone(engine) == []


@pytest.mark.parametrize("look", [("light", "ko-KR", WIDE), ("dark", "en-US", NARROW)], ids=["wide", "narrow"])
def test_axe_finds_nothing_on_pages_of_the_company(
    browser: Browser, url: str, look: tuple[str, str, dict[str, int]]
) -> None:
    scheme, locale, size = look
    with visitor(browser, url, color_scheme=scheme, locale=locale, viewport=size) as found:
        page = found.page
        page.goto(f"{url}/openid/callback?state=x")
        expect(page.get_by_role("alert")).to_be_visible()
        assert violations(page) == []
        page.locator("a[href^='/openid/begin']").click()
        page.get_by_label("Name").fill("ada")
        page.get_by_role("button", name="Continue").click()
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        page.goto(f"{url}/account")
        assert violations(page) == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        page.locator("form[action='/sign-out'] button").click()
        expect(page.locator("a[href*='/logout?']")).to_be_visible()
        assert violations(page) == []
        found.errors.clear()  # the page with the alert has the status 400
