"""The page while Postgres or the web process is down. tests/e2e has more outages."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from shared.words.words import catalogue
from tests.page.person import visitor
from tests.patience import patient_ms
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.browser
SLOW = "[[sim: tokens=1500 pace=40]] "


@pytest.fixture(scope="module")
def own_stack(module_own_stack: Stack) -> Stack:
    """Share one stack with a worker. Each test starts its own web process."""
    module_own_stack.start_simulator()
    module_own_stack.start_worker()
    return module_own_stack


def test_page_explains_a_postgres_outage_and_recovers(own_stack: Stack, browser: Browser) -> None:
    web = own_stack.start_web()
    with visitor(browser, web.url) as person:
        person.open().ask("[[sim: tokens=5]] before")
        person.wait_for_end()
        own_stack.servers.stop_postgres()
        person.ask("[[sim: tokens=5]] during")
        expect(person.page.locator(".naru-notice").first).to_contain_text("database", timeout=patient_ms(15))
        expect(person.composer).to_have_value("[[sim: tokens=5]] during", timeout=patient_ms(15))
        expect(person.questions).to_contain_text(["before"])
        own_stack.servers.start_postgres()
        expect(person.page.locator(".st-key-away .naru-notice")).to_have_count(0, timeout=patient_ms(15))
        person.composer.press("Enter")
        person.wait_for_end(answers=2)
    web.kill()


def test_page_loaded_during_an_outage_recovers(own_stack: Stack, browser: Browser) -> None:
    web = own_stack.start_web()
    with visitor(browser, web.url) as person:
        person.open().ask("[[sim: tokens=5]] before")
        person.wait_for_end()
        own_stack.servers.stop_postgres()
        person.open(person.page.url)
        expect(person.page.locator(".st-key-away .naru-notice")).to_be_visible(timeout=patient_ms(15))
        own_stack.servers.start_postgres()
        expect(person.questions).to_contain_text(["before"], timeout=patient_ms(15))
    web.kill()


def test_unsent_question_returns_to_the_box_when_web_dies(own_stack: Stack, browser: Browser) -> None:
    web = own_stack.start_web()
    with visitor(browser, web.url) as person:
        person.open().ask("[[sim: tokens=5]] before")
        person.wait_for_end()
        web.freeze()
        person.ask("[[sim: tokens=5]] lost")
        expect(person.composer).to_have_value("")
        person.page.wait_for_timeout(1200)
        web.kill()
        own_stack.run("web", "-m", "web", host="127.0.0.1", port=web.url.rsplit(":", 1)[1])
        expect(person.composer).to_have_value("[[sim: tokens=5]] lost", timeout=patient_ms(15))
        expect(person.page.locator(".naru-notice")).to_contain_text("before your question was received")
        person.composer.press("Enter")
        person.wait_for_end(answers=2)
        expect(person.questions).to_have_count(2)
        expect(person.composer).to_have_value("")


def test_page_shows_a_thin_bar_while_web_is_down(own_stack: Stack, browser: Browser) -> None:
    web = own_stack.start_web()
    with visitor(browser, web.url) as person:
        person.page.add_init_script("""
          window.dialogs = 0;
          new MutationObserver((all) => { window.dialogs += all.filter((one) =>
            [...one.addedNodes].some((node) => node.matches?.("[data-testid='stDialog']"))).length; })
            .observe(document, { childList: true, subtree: true });
        """)
        person.open().ask(SLOW + "x")
        text = person.wait_for_text(characters=100)
        web.kill()
        expect(person.page.locator(".naru-bar")).to_have_text("Reconnecting… your chat is safe", timeout=patient_ms(10))
        bar = person.page.locator(".naru-bar").bounding_box()
        name = person.page.locator(".naru-name").bounding_box()
        assert bar is not None
        assert name is not None
        assert bar["x"] >= name["x"] + name["width"], "the bar does not cover the name"
        assert person.live.inner_text().startswith(text[:80])
        wait_until(lambda: person.page.evaluate("() => window.dialogs"), seconds=60, what="Streamlit's dialog")
        expect(person.page.get_by_test_id("stDialog")).to_have_count(0)
        expect(person.page.locator(".naru-bar")).to_be_visible()


def test_user_can_type_while_web_is_down(own_stack: Stack, browser: Browser) -> None:
    web = own_stack.start_web()
    with visitor(browser, web.url, locale="ko-KR") as person:
        person.open().ask("[[sim: tokens=5]] before")
        person.wait_for_end()
        person.composer.press_sequentially("[[sim: tokens=5]] typed")
        web.kill()
        expect(person.page.locator(".naru-bar")).to_be_visible()
        person.page.keyboard.type(" while away")
        expect(person.composer).to_have_value("[[sim: tokens=5]] typed while away")
        expect(person.page.get_by_test_id("stConnectionStatus")).not_to_be_visible()
        person.page.keyboard.press("Enter")
        expect(person.page.locator(".naru-hint")).to_have_text(catalogue("ko")["live.hint_away"])
        person.page.get_by_role("link", name=catalogue("ko")["sidebar.new"]).click()
        expect(person.page.locator(".naru-hint")).to_have_text(catalogue("ko")["live.hint_away_link"])
        expect(person.composer).to_have_value("[[sim: tokens=5]] typed while away")
        own_stack.run("web", "-m", "web", host="127.0.0.1", port=web.url.rsplit(":", 1)[1])
        expect(person.page.locator(".naru-bar")).to_be_hidden(timeout=patient_ms(30))
        expect(person.page.locator(".naru-hint")).to_have_text("")
        person.composer.press("Enter")
        person.wait_for_end(answers=2)
        expect(person.questions.last).to_contain_text("typed while away")
