"""Two-step sign-in, the mail form and a guest's link in Chromium, in both languages, themes and sizes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine

from shared.words import Words
from tests.page.people.account_pages import NARROW, WIDE, sign_up, violations
from tests.page.person import visitor
from tests.patience import patient_ms
from tests.smtp import settings_for, smtp_server
from tests.stack import Stack
from tests.web.visitors import EMAIL, PASSWORD

pytestmark = pytest.mark.browser
LOOKS = [("light", "ko-KR", WIDE), ("dark", "en-US", NARROW)]


@pytest.fixture(scope="module")
def url(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page that needs accounts and sends mail."""
    with smtp_server(tmp_path_factory.mktemp("smtp")) as server:
        stack.values["SSL_CERT_FILE"] = str(server.certificate)
        yield stack.start_web(auth="local", **settings_for(server)).url


def is_fine(page: Page) -> bool:
    """Whether axe finds nothing, and the page fits the window."""
    assert violations(page) == []
    return bool(page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"))


def code_in(page: Page) -> str:
    """Return the app's code for the secret on the page."""
    secret = "".join(page.locator("main code").first.inner_text().split())
    return str(pyotp.TOTP(secret).at(int(time.time()) - 30 if time.time() % 30 < 20 else int(time.time())))


@pytest.mark.parametrize("look", LOOKS, ids=["wide", "narrow"])
def test_second_factor_from_setup_to_sign_in(
    browser: Browser, url: str, engine: Engine, look: tuple[str, str, dict[str, int]]
) -> None:
    scheme, locale, size = look
    t = Words(locale[:2]).t
    with visitor(browser, url, color_scheme=scheme, locale=locale, viewport=size) as found:
        page = found.page
        sign_up(page, url, engine)
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        page.goto(f"{url}/account")
        assert is_fine(page)
        page.get_by_role("link", name=t("factor.begin")).click()
        assert is_fine(page)
        page.locator("#current").fill(PASSWORD)
        page.get_by_role("button", name=t("factor.begin")).click()
        expect(page.get_by_role("img", name=t("factor.qr_code"))).to_be_visible()
        assert is_fine(page)
        page.locator("#code").fill(code_in(page))
        page.get_by_role("button", name=t("factor.confirm")).click()
        expect(page.locator(".codes code")).to_have_count(10)
        assert is_fine(page)
        recovery = page.locator(".codes code").first.inner_text()
        page.get_by_role("link", name=t("factor.saved")).click()
        assert is_fine(page)
        page.goto(f"{url}/account")
        assert is_fine(page)
        page.get_by_role("button", name=t("account.sign_out"), exact=True).click()
        page.locator("#email").fill(EMAIL)
        page.locator("#password").fill(PASSWORD)
        page.get_by_role("button", name=t("account.sign_in")).click()
        expect(page).to_have_url(re.compile("/sign-in/code$"))
        page.locator("#code").fill("000000")
        page.get_by_role("button", name=t("account.sign_in")).click()
        expect(page.get_by_role("alert")).to_contain_text(Words(locale[:2]).error("wrong_code"))
        assert is_fine(page)
        page.locator("#code").fill(recovery)
        page.get_by_role("button", name=t("account.sign_in")).click()
        expect(found.composer).to_be_visible(timeout=patient_ms(20))


@pytest.mark.parametrize("look", LOOKS, ids=["wide", "narrow"])
def test_axe_finds_nothing_on_the_mail_form(browser: Browser, url: str, look: tuple[str, str, dict[str, int]]) -> None:
    scheme, locale, size = look
    t = Words(locale[:2]).t
    with visitor(browser, url, color_scheme=scheme, locale=locale, viewport=size) as found:
        page = found.page
        page.goto(f"{url}/sign-in")
        assert is_fine(page)
        page.get_by_role("link", name=t("account.forgot")).click()
        assert is_fine(page)
        page.locator("#email").fill(EMAIL)
        page.get_by_role("button", name=t("account.forgot_send")).click()
        expect(page.get_by_role("status")).to_contain_text(t("account.forgot_sent", hours=24))
        assert is_fine(page)


@pytest.mark.parametrize("look", LOOKS, ids=["wide", "narrow"])
def test_needed_factor_is_set_up_before_the_chat(
    stack: Stack, browser: Browser, engine: Engine, look: tuple[str, str, dict[str, int]]
) -> None:
    scheme, locale, size = look
    t = Words(locale[:2]).t
    strict = stack.start_web(auth="local", second_factor="everyone").url
    with visitor(browser, strict, color_scheme=scheme, locale=locale, viewport=size) as found:
        page = found.page
        sign_up(page, strict, engine)
        expect(page).to_have_url(re.compile("/sign-in/enrol$"))
        assert is_fine(page)
        page.locator("#code").fill(code_in(page))
        page.get_by_role("button", name=t("factor.confirm")).click()
        page.get_by_role("link", name=t("factor.saved")).click()
        expect(found.composer).to_be_visible(timeout=patient_ms(20))


@pytest.mark.parametrize("look", LOOKS, ids=["wide", "narrow"])
def test_guests_link_opens_the_chats_elsewhere(
    stack: Stack, browser: Browser, look: tuple[str, str, dict[str, int]]
) -> None:
    scheme, locale, size = look
    t = Words(locale[:2]).t
    stack.start_simulator()
    stack.start_worker()
    open_url = stack.start_web().url
    look_of_second = {"color_scheme": scheme, "locale": locale, "viewport": size}
    with visitor(browser, open_url) as first, visitor(browser, open_url, **look_of_second) as second:
        first.page.goto(open_url)
        expect(first.composer).to_be_visible(timeout=patient_ms(20))
        first.ask("[[sim: tokens=5]] hello from before")
        first.wait_for_end()
        first.page.get_by_role("link", name="Keep a link to my chats").click()
        first.page.get_by_role("button", name="Make a link").click()
        link = first.page.locator("#shown").input_value()
        page = second.page
        page.goto(link)
        assert is_fine(page)
        page.get_by_role("button", name=t("guest.open")).click()
        expect(second.composer).to_be_visible(timeout=patient_ms(20))
        expect(page.get_by_text("hello from before").first).to_be_attached(timeout=patient_ms(20))
        page.goto(f"{open_url}/keep")
        assert is_fine(page)
        page.get_by_role("button", name=t("guest.make_again")).click()
        expect(page.get_by_role("status")).to_contain_text(t("guest.made"))
        assert is_fine(page)
        page.get_by_role("button", name=t("guest.revoke")).click()
        expect(page.get_by_role("button", name=t("guest.make"), exact=True)).to_be_visible()
        assert is_fine(page)
        page.goto(link)
        expect(page.get_by_role("alert")).to_contain_text(t("guest.bad_link"))
        assert is_fine(page)


def test_code_page_leads_back_to_the_sign_in(browser: Browser, url: str, engine: Engine) -> None:
    with visitor(browser, url) as found:
        page = found.page
        sign_up(page, url, engine)
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
        page.goto(f"{url}/sign-in/code")
        expect(page.get_by_role("alert")).to_contain_text("Sign in again")
        page.get_by_role("link", name="Sign in").click()
        expect(found.composer).to_be_visible(timeout=patient_ms(20))
