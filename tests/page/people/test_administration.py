"""An administrator's way through the page `?page=admin` in Chromium, in both languages, wide and narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine

from shared.operating.banner import clear_banner, set_banner
from shared.people import accounts
from shared.people.accounts import Role
from tests.page.people.account_pages import NARROW, WIDE, sign_up, violations
from tests.page.person import Person, visitor
from tests.patience import patient_ms
from tests.stack import Process, Stack
from tests.web.visitors import EMAIL, PASSWORD

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Process:
    """A worker with the simulator behind it."""
    stack.start_simulator()
    return stack.start_worker(first_token_seconds=900)


@pytest.fixture(scope="module")
def url(stack: Stack, worker: Process) -> str:
    """The address of a page that needs accounts."""
    return stack.start_web(auth="local", debug_panel=True).url


@pytest.fixture
def admin(browser: Browser, url: str, engine: Engine) -> Iterator[Person]:
    """The administrator, in the browser."""
    with visitor(browser, url, viewport=WIDE) as found:
        sign_up(found.page, url, engine)
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        yield found
        assert found.errors == []


def test_administrator_stops_a_request(admin: Person) -> None:
    admin.ask("[[sim: first=600]] a secret question")
    expect(admin.page.locator(".naru-block[data-phase='thinking']")).to_be_visible(timeout=patient_ms(20))
    page = admin.page
    page.get_by_role("link", name="Administration").click()
    row = page.locator("[class*='st-key-admin-row-']")
    expect(row).to_contain_text(EMAIL, timeout=patient_ms(20))
    expect(row).to_contain_text("1st attempt")
    row.get_by_role("button").click()
    timeline = page.locator(".naru-timeline")
    expect(timeline).to_contain_text("1st attempt by")
    expect(page.locator("body")).not_to_contain_text("secret")
    page.get_by_role("button", name="Stop the request").click()
    page.locator(".st-key-admin-yes button").click()
    expect(page.locator(".naru-done")).to_contain_text("asked to stop")
    expect(timeline).to_contain_text("Ended: stopped", timeout=patient_ms(20))
    expect(page.locator("[class*='st-key-admin-row-']")).to_have_count(0)


def test_invitation_and_role_change_from_the_page(admin: Person, browser: Browser, url: str, engine: Engine) -> None:
    page = admin.page
    page.goto(f"{url}/?page=admin&part=people")
    page.locator(".st-key-admin-invite button").click()
    link = page.locator(".naru-token").inner_text()
    assert link.startswith(f"{url}/sign-up?invitation=")
    with visitor(browser, url) as other:
        other.page.goto(link)
        other.page.locator("#email").fill("second@example.org")
        other.page.locator("#password").fill(PASSWORD)
        other.page.locator("button[type=submit]").click()
        expect(other.composer).to_be_visible(timeout=patient_ms(20))
        expect(other.page.get_by_role("link", name="Administration")).to_have_count(0)
        other.page.goto(f"{url}/?page=admin")
        expect(other.page.get_by_role("alert")).to_contain_text("for administrators", timeout=patient_ms(20))
        page.reload()
        page.locator(".st-key-admin-find input").fill("SECOND")
        page.locator(".st-key-admin-find input").press("Enter")
        rows = page.locator("[class*='st-key-admin-row-']")
        expect(rows).to_have_count(1)
        rows.get_by_role("button").click()
        person = page.locator(".st-key-admin-person")
        person.get_by_role("radio", name="Auditor").click()
        page.locator(".st-key-admin-give-role button").click()
        page.locator(".st-key-admin-yes button").click()
        expect(page.locator(".naru-done")).to_contain_text("role of second@example.org is changed")
        expect(other.page).to_have_url(re.compile("/sign-in"), timeout=patient_ms(20))
    assert accounts.person_with(engine, "second@example.org").role is Role.AUDITOR


def test_debug_panel_is_for_administrators(admin: Person, browser: Browser, url: str, engine: Engine) -> None:
    with visitor(browser, url) as other:
        sign_up(other.page, url, engine, "second@example.org")
        for person in (admin, other):
            expect(person.composer).to_be_visible(timeout=patient_ms(20))
            person.ask("[[sim: tokens=5]] a secret question")
            person.wait_for_end()
        expect(admin.page.locator("p.naru-debug")).to_contain_text(re.compile(r"attempts: 1 .* 5 out"))
        admin.page.locator("details.naru-debug summary").click()
        expect(admin.page.locator("details.naru-debug li").first).to_be_visible()
        expect(admin.page.locator("details.naru-debug")).not_to_contain_text("secret")
        admin.page.wait_for_timeout(700)
        assert violations(admin.page) == []
        expect(other.page.locator(".naru-debug")).to_have_count(0)


def test_last_administrator_stays(admin: Person, url: str, engine: Engine) -> None:
    page = admin.page
    page.goto(f"{url}/?page=admin&part=people")
    page.locator("[class*='st-key-admin-row-']").get_by_role("button").click()
    page.locator(".st-key-admin-do-disable button").click()
    page.locator(".st-key-admin-yes button").click()
    expect(page.get_by_role("alert")).to_contain_text("only administrator")
    assert not accounts.person_with(engine, EMAIL).is_disabled


def test_banner_reaches_open_pages_and_the_sign_in(admin: Person, browser: Browser, url: str, engine: Engine) -> None:
    page = admin.page
    set_banner(engine, en="Down at <b>noon</b>", ko="정오에 점검")
    bar = page.locator("#naru-banner")
    expect(bar).to_contain_text("Down at <b>noon</b>", timeout=patient_ms(20))
    assert page.evaluate("() => document.querySelector('[data-testid=stApp]').getBoundingClientRect().top") > 20
    bar.get_by_role("button", name="Close the announcement").click()
    expect(bar).to_have_count(0)
    page.reload()
    expect(admin.composer).to_be_visible(timeout=patient_ms(20))
    expect(bar).to_have_count(0)
    with visitor(browser, url, locale="ko-KR") as other:
        other.page.goto(f"{url}/sign-in")
        expect(other.page.get_by_role("status")).to_contain_text("정오에 점검")
    set_banner(engine, en="Back again")
    expect(bar).to_contain_text("Back again", timeout=patient_ms(20))
    clear_banner(engine)
    expect(bar).to_have_count(0, timeout=patient_ms(20))


def look_at_limits(page: Page) -> None:
    """Open the first person, look at the boxes, and save a wrong limit and a right one."""
    page.locator("[class*='st-key-admin-row-'] button").first.click()
    box = page.locator("[class*='st-key-admin-limit-person'][class*='-tokens_per_day'] input")
    save = page.locator("[class*='st-key-admin-limits-set-person'] button")
    for given, shown in (("nonsense", "alert"), ("2000", "status")):
        box.fill(given)
        box.press("Enter")
        save.click()
        expect(page.locator(f"[class*='st-key-admin-limits-person'] [role={shown}]")).to_be_visible(
            timeout=patient_ms(20)
        )
        page.wait_for_timeout(700)
        assert violations(page) == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    expect(box).to_have_value("2000")


@pytest.mark.parametrize("look", [("light", "ko-KR", WIDE), ("dark", "en-US", NARROW)], ids=["wide", "narrow"])
def test_axe_finds_nothing_on_the_page(
    browser: Browser, url: str, engine: Engine, look: tuple[str, str, dict[str, int]]
) -> None:
    scheme, locale, size = look
    looks: dict[str, Any] = {"color_scheme": scheme, "locale": locale, "viewport": size}
    with visitor(browser, url, **looks) as found:
        page = found.page
        sign_up(page, url, engine)
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        found.ask("[[sim: tokens=5]] hello")
        found.wait_for_end()
        found.ask("[[sim: fault=quota]] Why is the sky blue?")
        expect(page.locator(".naru-failed")).to_be_visible(timeout=patient_ms(20))
        found.ask("[[sim: first=600]] wait")
        expect(page.locator(".naru-block[data-phase='thinking']")).to_be_visible(timeout=patient_ms(20))
        for part, ready in PARTS.items():
            page.goto(f"{url}/?page=admin&part={part}")
            expect(page.locator(ready).first).to_be_visible(timeout=patient_ms(20))
            page.wait_for_timeout(700)
            assert violations(page) == [], part
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), part
            if part == "live":
                page.locator("[class*='st-key-admin-open-'] button").first.click()
                expect(page.locator(".naru-timeline")).to_be_visible()
                page.locator("[class*='st-key-admin-drain-'] button").first.click()
                expect(page.locator(".st-key-admin-yes")).to_be_visible()
                page.wait_for_timeout(700)
                assert violations(page) == []
                page.locator(".st-key-admin-no button").click()
                page.locator(".st-key-admin-cancel button").click()
                page.locator(".st-key-admin-yes button").click()
                expect(page.locator(".naru-done")).to_be_visible()
            if part == "people":
                look_at_limits(page)
                page.locator("[class*='st-key-admin-person-'] button").first.click()
                expect(page.locator(".st-key-admin-person")).to_be_visible()
                page.locator(".st-key-admin-invite button").click()
                expect(page.locator(".naru-token")).to_contain_text("/sign-up?invitation=")
                page.wait_for_timeout(700)
                assert violations(page) == []
            if part == "banner":
                page.locator(".st-key-admin-banner-ko input").fill("오늘 18시에 점검합니다 <b>*굵게*</b>")
                page.locator(".st-key-admin-banner-ko input").press("Tab")
                page.locator(".st-key-admin-banner-set button").click()
                expect(page.locator("#naru-banner")).to_contain_text("<b>*굵게*</b>", timeout=patient_ms(20))
                page.wait_for_timeout(700)
                assert violations(page) == []
        assert [line for line in found.errors if not re.search("status of (400|401)", line)] == []


#: What each part shows once it is drawn.
PARTS = {
    "live": "[class*='st-key-admin-open-']",
    "use": ".naru-meter",
    "people": "[class*='st-key-admin-person-']",
    "banner": ".st-key-admin-banner-set",
}
