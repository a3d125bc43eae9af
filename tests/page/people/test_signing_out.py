"""What a browser keeps after a sign-out in Chromium: the theme, but nothing that was typed."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import Engine

from tests.page.chromium import UNTRUSTED_HOST
from tests.page.people.account_pages import sign_up
from tests.page.person import visitor
from tests.patience import patient_ms
from tests.stack import Stack
from tests.web.visitors import PASSWORD

pytestmark = pytest.mark.browser


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
