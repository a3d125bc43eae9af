"""The sidebar in Chromium: the list that loads more on scrolling, the theme, changes from another tab."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect
from sqlalchemy import text

from shared.postgres.database import make_engine, transaction
from tests.page.person import Person, newcomer, visitor
from tests.patience import patient_ms
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.browser
CHATS = 130
DARK = "rgb(21, 25, 24)"


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: each test has its own browser."""
    return module_stack


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    """The page's address, with a worker and the simulator behind it."""
    stack.start_simulator()
    stack.start_worker()
    return stack.start_web().url


@pytest.fixture
def person(browser: Browser, url: str) -> Iterator[Person]:
    """A user with one short conversation."""
    with newcomer(browser, url) as found:
        found.open().ask("[[sim: tokens=5]] the newest")
        found.wait_for_end()
        yield found
        assert found.errors == []


def test_links_download_the_persons_chats(person: Person) -> None:
    for name, begins in (("Markdown", "# Naru"), ("JSON", '{"format": "naru-chats"')):
        with person.page.expect_download() as waiting:
            person.page.get_by_role("link", name=name).click()
        found = waiting.value.path().read_text(encoding="utf-8")
        assert found.startswith(begins)
        assert "the newest" in found
    expect(person.answers).to_have_count(1)


def multiply(stack: Stack, person: Person) -> None:
    """Give the user many older conversations, one for each past hour."""
    engine = make_engine(stack.settings, name="test")
    with transaction(engine) as connection:
        connection.execute(
            text("""
            INSERT INTO conversation (id, owner_id, title, leaf_id, created_at, updated_at)
            SELECT gen_random_uuid(), owner_id, 'chat ' || n, leaf_id, moment, moment
            FROM conversation, generate_series(1, :most) AS n,
                 LATERAL (SELECT clock_timestamp() - n * interval '1 hour' AS moment) AS made
            WHERE id = :id
            """),
            {"id": person.page.url.partition("?c=")[2], "most": CHATS},
        )
    engine.dispose()


def lines(person: Person) -> Locator:
    """Locate the conversations in the list."""
    return person.page.locator(".st-key-conversations .naru-link")


def to_end(person: Person) -> None:
    """Scroll the list to its end."""
    person.page.locator(".st-key-conversations").evaluate("list => list.scrollTo(0, list.scrollHeight)")


def test_scrolling_reaches_every_chat(stack: Stack, person: Person) -> None:
    multiply(stack, person)
    person.open(person.page.url)
    expect(lines(person)).to_have_count(50)
    for seen in (100, CHATS + 1):
        to_end(person)
        expect(lines(person)).to_have_count(seen)
    to_end(person)
    titles = lines(person).all_inner_texts()
    assert titles[1:] == [f"chat {number}" for number in range(1, CHATS + 1)]
    expect(person.page.locator(".st-key-more-conversations")).to_have_count(0)
    for part in (".naru-name", ".naru-new", ".st-key-language", ".naru-theme", ".naru-who", "text='chat 130'"):
        expect(person.page.locator(part).first).to_be_in_viewport(ratio=1)
    lines(person).last.click()
    expect(person.page.locator(".naru-link[aria-current]")).to_have_text("chat 130")
    expect(lines(person)).to_have_count(CHATS + 1)


def test_keyboard_reaches_the_next_page_by_its_button(stack: Stack, person: Person) -> None:
    multiply(stack, person)
    person.open(person.page.url)
    expect(lines(person)).to_have_count(50)
    more = person.page.get_by_role("button", name="Show more chats")
    more.focus()
    person.page.keyboard.press("Enter")
    expect(lines(person)).not_to_have_count(50)


def test_open_old_chat_is_shown_above_the_list(stack: Stack, person: Person) -> None:
    multiply(stack, person)
    person.open(person.page.url)
    for seen in (100, CHATS + 1):
        to_end(person)
        expect(lines(person)).to_have_count(seen)
    old = lines(person).last.get_attribute("href")
    person.open(f"/{old}")
    expect(person.page.locator(".naru-day").first).to_have_text("Open now")
    expect(person.page.locator(".naru-link[aria-current]")).to_have_text("chat 130")
    person.page.locator(".st-key-conversation-menu button").first.click()
    person.page.get_by_text("Rename", exact=True).click()
    person.page.get_by_role("dialog").get_by_role("textbox").fill("found again")
    person.page.get_by_role("button", name="Save").click()
    expect(person.page.locator(".naru-link[aria-current]")).to_have_text("found again")


def test_list_stays_while_postgres_is_away(own_stack: Stack, browser: Browser) -> None:
    own_stack.start_simulator()
    own_stack.start_worker()
    with visitor(browser, own_stack.start_web().url) as person:
        person.open().ask("[[sim: tokens=5]] the newest")
        person.wait_for_end()
        multiply(own_stack, person)
        person.open(person.page.url)
        expect(lines(person)).to_have_count(50)
        own_stack.servers.stop_postgres()
        person.page.locator(".st-key-more-conversations button").click()
        expect(person.page.get_by_text("More chats can't be loaded right now.")).to_be_visible(timeout=patient_ms(15))
        expect(lines(person)).to_have_count(50)
        own_stack.servers.start_postgres()
        person.page.locator(".st-key-more-conversations button").click()
        expect(lines(person)).to_have_count(100, timeout=patient_ms(15))
        expect(person.page.get_by_text("More chats can't be loaded right now.")).to_have_count(0)


def test_another_tabs_new_chat_appears_in_the_list(person: Person) -> None:
    other = person.another_tab()
    other.composer.fill("half a thought")
    person.open("/").ask("[[sim: tokens=5]] from the first tab")
    person.wait_for_end()
    expect(lines(other)).to_have_text(["[[sim: tokens=5]] from the first tab", "[[sim: tokens=5]] the newest"])
    expect(other.composer).to_have_value("half a thought")
    expect(other.questions).to_have_count(1)


def test_theme_changes_at_once_and_stays(person: Person) -> None:
    def ground() -> str:
        return str(person.page.get_by_test_id("stApp").evaluate("app => getComputedStyle(app).backgroundColor"))

    person.composer.fill("half a thought")
    expect(person.page.get_by_role("button", name="System")).to_have_attribute("aria-pressed", "true")
    dark = person.page.get_by_role("button", name="Dark")
    dark.click()
    wait_until(lambda: ground() == DARK, seconds=30, what="the dark theme")
    expect(dark).to_have_attribute("aria-pressed", "true")
    expect(dark).to_be_focused()
    expect(person.composer).to_have_value("half a thought")
    expect(person.page.get_by_role("menu")).to_have_count(0)
    person.page.reload()
    expect(dark).to_have_attribute("aria-pressed", "true")
    assert ground() == DARK
    person.page.get_by_role("button", name="Light").click()
    wait_until(lambda: ground() == "rgb(255, 255, 255)", seconds=30, what="the light theme")
