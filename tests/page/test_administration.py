"""An administrator's way through the page `?page=admin` in Chromium, in both languages, wide and narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine, text

from shared.people import links
from shared.postgres.database import make_engine, transaction
from tests.page.person import Person, visitor
from tests.page.test_signing_in import violations
from tests.patience import patient_ms
from tests.stack import Process, Stack

pytestmark = pytest.mark.browser

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack."""
    return module_stack


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database."""
    return make_engine(stack.settings, name="test")


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Process:
    """A worker with the simulator behind it."""
    stack.start_simulator()
    return stack.start_worker(first_token_seconds=900)


@pytest.fixture(scope="module")
def url(stack: Stack, worker: Process) -> str:
    """The address of a page that needs accounts."""
    return stack.start_web(auth="local").url


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE person, session, link, sign_in_allowance, conversation, banner CASCADE"))


def sign_up(page: Page, url: str, engine: Engine, email: str = EMAIL, role: str = "user") -> None:
    page.goto(f"{url}/sign-up?invitation={links.invite(engine, role, days=1)}")
    page.locator("#email").fill(email)
    page.locator("#password").fill(PASSWORD)
    page.locator("button[type=submit]").click()


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


@pytest.mark.parametrize("look", [("light", "ko-KR", WIDE), ("dark", "en-US", NARROW)], ids=["wide", "narrow"])
def test_axe_finds_nothing_on_the_page(
    browser: Browser, url: str, engine: Engine, tmp_path: Path, look: tuple[str, str, dict[str, int]]
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
            page.screenshot(path=f"/tmp/admin-{part}-{scheme}.png", full_page=True)
            assert violations(page) == [], part
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), part
            if part == "live":
                page.locator("[class*='st-key-admin-open-'] button").first.click()
                expect(page.locator(".naru-timeline")).to_be_visible()
                page.locator("[class*='st-key-admin-drain-'] button").first.click()
                expect(page.locator(".st-key-admin-yes")).to_be_visible()
                page.wait_for_timeout(700)
                page.screenshot(path=f"/tmp/admin-ask-{scheme}.png", full_page=True)
                assert violations(page) == []
                page.locator(".st-key-admin-no button").click()
                page.locator(".st-key-admin-cancel button").click()
                page.locator(".st-key-admin-yes button").click()
                expect(page.locator(".naru-done")).to_be_visible()
        assert [line for line in found.errors if not re.search("status of (400|401)", line)] == []


#: What each part shows once it is drawn.
PARTS = {"live": "[class*='st-key-admin-open-']", "use": ".naru-meter"}
