"""What a browser keeps after a sign-out in Chromium: the theme, but nothing that was typed."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine, text

from shared.people import links
from shared.postgres.database import make_engine, transaction
from tests.page.chromium import UNTRUSTED_HOST
from tests.page.person import visitor
from tests.page.test_signing_in import PASSWORD
from tests.patience import patient_ms
from tests.stack import Stack

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack."""
    return module_stack


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database."""
    return make_engine(stack.settings, name="test")


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE person, session, link, sign_in_allowance CASCADE"))


def sign_up(page: Page, url: str, engine: Engine, email: str) -> None:
    page.goto(f"{url}/sign-up?invitation={links.invite(engine, 'user', days=1)}")
    page.locator("#email").fill(email)
    page.locator("#password").fill(PASSWORD)
    page.locator("button[type=submit]").click()


def test_next_person_finds_no_draft_without_tls(stack: Stack, browser: Browser, engine: Engine) -> None:
    web = stack.start_web(auth="local", allowed_hosts=UNTRUSTED_HOST)
    url = web.url.replace("127.0.0.1", UNTRUSTED_HOST)
    with visitor(browser, url) as found:
        found.page.goto(f"{url}/sign-in")
        assert not found.page.evaluate("() => isSecureContext"), "else the browser obeys the header, and not the mark"
        for email in ("ada@example.org", "bob@example.org"):
            sign_up(found.page, url, engine, email)
            expect(found.composer).to_be_visible(timeout=patient_ms(20))
            expect(found.composer).to_have_value("")
            found.composer.fill("words of one person")
        found.page.goto(f"{url}/account")
        found.page.get_by_role("button", name="Sign out", exact=True).click()
        found.page.locator("#email").fill("bob@example.org")
        found.page.locator("#password").fill(PASSWORD)
        found.page.get_by_role("button", name="Sign in").click()
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        expect(found.composer).to_have_value("")


def test_sign_out_keeps_the_theme(stack: Stack, browser: Browser, engine: Engine) -> None:
    url = stack.start_web(auth="local").url
    with visitor(browser, url) as found:
        sign_up(found.page, url, engine, "ada@example.org")
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        dark = found.page.locator("[data-naru-theme=Dark]")
        dark.click()
        expect(dark).to_have_attribute("aria-pressed", "true")
        found.page.goto(f"{url}/account")
        found.page.get_by_role("button", name="Sign out", exact=True).click()
        found.page.locator("#email").fill("ada@example.org")
        found.page.locator("#password").fill(PASSWORD)
        found.page.get_by_role("button", name="Sign in").click()
        expect(dark).to_have_attribute("aria-pressed", "true", timeout=patient_ms(20))
