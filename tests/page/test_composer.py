"""The composer in Chromium: every question is visible, sent or in the box, and the focus is where typing goes next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from shared.words.words import catalogue
from tests.page.person import COMPOSER, Person, newcomer
from tests.page.test_walks import SLOW, focused
from tests.stack import Process, Stack

pytestmark = pytest.mark.browser
SEND = "stChatInputSubmitButton"
EN, KO = catalogue("en"), catalogue("ko")
SHORT = "[[sim: tokens=5]] "
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack among the tests."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """The page's server, with a worker and the simulator behind it."""
    stack.start_simulator()
    stack.start_worker()
    return stack.start_web()


@pytest.fixture
def person(browser: Browser, web: Process) -> Iterator[Person]:
    """A user on a new page."""
    with newcomer(browser, web.url) as found:
        yield found.open()
        assert found.errors == []


def echo(person: Person) -> Locator:
    """Locate the echo of a question that is being sent."""
    return person.page.locator(".naru-echo")


def hint(person: Person) -> Locator:
    """Locate the hint that says why nothing was sent."""
    return person.page.locator(".naru-hint")


def new_chat(person: Person) -> None:
    """Follow the link, and wait for the empty page."""
    person.page.get_by_role("link", name=EN["sidebar.new"]).click()
    expect(person.page.locator(".st-key-empty")).to_be_visible()


def choose_in_menu(person: Person, words: str) -> Locator:
    """Open a dialog from the conversation's menu."""
    person.page.locator(".st-key-conversation-menu button").first.click()
    person.page.get_by_text(words, exact=True).click()
    dialog = person.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


def test_question_on_a_stalled_line_is_echoed(web: Process, person: Person) -> None:
    person.ask(SHORT + "before")
    person.wait_for_end()
    web.freeze()
    try:
        person.ask(SHORT + "stalled")
        expect(echo(person)).to_contain_text(SHORT + "stalled")
        expect(echo(person)).to_contain_text(EN["live.sending"])
        expect(person.composer).to_have_value("")
        person.ask("and another")
        expect(hint(person)).to_have_text(EN["live.hint_sending"])
        expect(person.composer).to_have_value("and another")
    finally:
        web.thaw()
    person.wait_for_end(answers=2)
    expect(echo(person)).to_be_hidden()
    expect(person.questions).to_have_count(2)
    expect(person.composer).to_have_value("and another")


def test_echo_and_stored_question_are_never_both_visible(person: Person) -> None:
    person.page.evaluate(
        """() => {
          window.most = 0;
          const count = () => {
            const shown = document.querySelectorAll(".naru-question, .naru-echo:not([hidden])").length;
            window.most = Math.max(window.most, shown);
            requestAnimationFrame(() => setTimeout(count));
          };
          count();
        }"""
    )
    person.ask(SHORT + "once")
    person.wait_for_end()
    assert person.page.evaluate("() => window.most") == 1


def test_first_question_is_echoed_and_the_focus_moves(web: Process, person: Person) -> None:
    web.freeze()
    try:
        person.page.locator(".st-key-first-1 button").click()
        expect(echo(person)).to_contain_text(EN["empty.1.text"])
        assert focused(person) == COMPOSER
    finally:
        web.thaw()
    person.page.keyboard.type("typed at once")
    person.wait_for_end()
    expect(person.questions).to_contain_text([EN["empty.1.text"]])
    expect(person.composer).to_have_value("typed at once")


@pytest.mark.parametrize("hears", [True, False], ids=["notified", "not-notified"])
def test_question_for_a_deleted_conversation_is_kept(browser: Browser, web: Process, *, hears: bool) -> None:
    with newcomer(browser, web.url) as person:
        person.open().ask(SHORT + "shared")
        person.wait_for_end()
        other = Person(person.page.context.new_page(), person.url)
        if not hears:
            other.page.add_init_script("window.BroadcastChannel = class { postMessage() {} close() {} }")
        other.open(person.page.url)
        person.page.bring_to_front()
        choose_in_menu(person, EN["sidebar.delete"]).get_by_role("button", name=EN["delete.confirm"]).click()
        expect(person.page.locator(".st-key-empty")).to_be_visible()
        other.page.bring_to_front()
        if hears:
            expect(other.page.locator(".naru-notice")).to_have_text(EN["error.not_found"])
            other.composer.fill(SHORT + "where does this go")
        else:
            other.ask(SHORT + "where does this go")
            expect(other.page.locator(".naru-notice")).to_have_text(f"{EN['error.not_found']} {EN['notice.kept']}")
        expect(other.composer).to_have_value(SHORT + "where does this go")
        other.page.reload()
        expect(other.page.locator(".naru-notice")).to_have_text(EN["error.not_found"])
        expect(other.composer).to_have_value(SHORT + "where does this go")
        other.page.locator(".st-key-way-out button").click()
        expect(other.page.locator(".st-key-empty")).to_be_visible()
        expect(other.composer).to_have_value(SHORT + "where does this go")
        other.composer.press("Enter")
        other.wait_for_end()
        expect(other.questions).to_have_count(1)
        assert other.errors == []


def test_question_at_an_unknown_address_begins_a_chat(browser: Browser, web: Process) -> None:
    with newcomer(browser, web.url) as person:
        person.open("/?c=581f1694-51fd-4926-a0af-ebaeb0860d11")
        expect(person.page.locator(".naru-notice")).to_have_text(EN["error.not_found"])
        person.ask(SHORT + "anyway")
        person.wait_for_end()
        expect(person.page).not_to_have_url(re.compile("581f1694"))
        person.page.reload()
        expect(person.questions).to_contain_text(["anyway"])


def test_new_chat_has_no_stored_address_until_a_question(person: Person) -> None:
    expect(person.page).to_have_url(re.compile(r"/\?new=[0-9a-f-]{36}$"))
    person.composer.press_sequentially("a draft of nothing yet")
    person.page.reload()
    expect(person.page.locator(".st-key-empty")).to_be_visible()
    expect(person.composer).to_have_value("a draft of nothing yet")
    person.ask(SHORT + "first")
    expect(person.page).to_have_url(re.compile(r"/\?c=[0-9a-f-]{36}$"))
    person.wait_for_end()
    person.page.reload()
    expect(person.answers).to_have_count(1)


def test_draft_of_a_new_chat_survives_leaving_it(person: Person) -> None:
    person.ask(SHORT + "first")
    person.wait_for_end()
    new_chat(person)
    person.page.keyboard.type("typed at once")
    person.page.locator(".naru-link", has_text="first").click()
    expect(person.answers).to_have_count(1)
    expect(person.composer).to_have_value("")
    new_chat(person)
    expect(person.composer).to_have_value("typed at once")
    person.page.get_by_role("link", name=EN["sidebar.new"]).click()
    expect(person.composer).to_have_value("typed at once")
    assert focused(person) == COMPOSER


def test_composers_button_stops_the_answer(person: Person) -> None:
    person.ask(SLOW + "x")
    person.wait_for_text(characters=20)
    stop = person.page.locator(".naru-stop-here")
    there, here = person.page.get_by_test_id(SEND).bounding_box(), stop.bounding_box()
    assert here is not None
    assert there is not None
    assert all(abs(here[side] - there[side]) <= 1 for side in ("x", "y", "width", "height"))
    stop.click()
    expect(person.page.locator(".naru-remark")).to_have_text(EN["answer.stopped"])
    expect(stop).to_be_hidden()
    assert focused(person) == COMPOSER


def test_escape_stops_the_answer_only_if_nothing_is_open(person: Person) -> None:
    person.ask(SLOW + "x")
    person.wait_for_text(characters=20)
    dialog = choose_in_menu(person, EN["sidebar.rename"])
    person.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    person.page.locator(".st-key-conversation-menu button").first.click()
    expect(person.page.get_by_role("menu")).to_be_visible()
    person.page.keyboard.press("Escape")
    expect(person.page.get_by_role("menu")).to_have_count(0)
    composing = 'new KeyboardEvent("keydown", { key: "Escape", isComposing: true, bubbles: true })'
    person.composer.evaluate(f"box => box.dispatchEvent({composing})")
    length = len(person.live.inner_text())
    person.wait_for_text(characters=length + 60)
    expect(person.page.locator(".naru-stop")).to_be_enabled()
    person.composer.press("Escape")
    expect(person.page.locator(".naru-remark")).to_have_text(EN["answer.stopped"])


def test_typing_goes_on_after_every_click(person: Person) -> None:
    person.ask(SHORT + "x")
    person.wait_for_end()
    person.page.get_by_role("button", name=EN["answer.regenerate"]).click()
    person.page.keyboard.type("after regenerate")
    person.wait_for_end()
    expect(person.composer).to_have_value("after regenerate")
    assert focused(person) == COMPOSER
    person.page.locator(".naru-copy").focus()
    person.page.keyboard.type(", from anywhere")
    expect(person.composer).to_have_value("after regenerate, from anywhere")
    person.composer.fill("")
    choose_in_menu(person, EN["sidebar.delete"]).get_by_role("button", name=EN["delete.confirm"]).click()
    expect(person.page.locator(".st-key-empty")).to_be_visible()
    expect(person.page.get_by_role("dialog")).to_have_count(0)
    assert focused(person) == COMPOSER


def test_rename_survives_the_end_of_the_answer(person: Person) -> None:
    person.ask("[[sim: tokens=120 pace=30]] x")
    person.wait_for_text()
    dialog = choose_in_menu(person, EN["sidebar.rename"])
    assert person.page.evaluate("() => document.activeElement.selectionEnd") > 0, "the old title is selected"
    person.page.keyboard.type("A title")
    person.wait_for_end()
    expect(dialog).to_be_visible()
    person.page.keyboard.type(" of my own")
    expect(dialog.get_by_role("textbox")).to_have_value("A title of my own")
    person.page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(person.page.locator(".naru-link[aria-current]")).to_have_text("A title of my own")
    assert person.page.evaluate("() => document.activeElement !== document.body")


def test_cancel_precedes_the_action_in_a_dialog(person: Person) -> None:
    person.ask(SHORT + "kept")
    person.wait_for_end()
    dialog = choose_in_menu(person, EN["sidebar.delete"])
    expect(dialog.get_by_role("button")).to_have_text([EN["dialog.cancel"], EN["delete.confirm"]])
    expect(dialog.get_by_role("button", name=EN["dialog.cancel"])).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(person.answers).to_have_count(1)


def test_enter_breaks_the_line_on_a_phone(browser: Browser, web: Process) -> None:
    with newcomer(browser, web.url, locale="ko-KR", **PHONE) as person:
        person.open().composer.press_sequentially(SHORT + "one")
        person.composer.press("Enter")
        person.composer.press_sequentially("two")
        expect(person.composer).to_have_value(SHORT + "one\ntwo")
        person.page.get_by_test_id(SEND).tap()
        person.wait_for_end()
        expect(person.questions).to_have_text([f"{KO['history.question']}{SHORT}one\ntwo"])
        assert person.errors == []


def test_enter_during_composition_sends_nothing(person: Person) -> None:
    person.composer.fill("안녕")
    for how in ("isComposing: true", "keyCode: 229"):
        press = f"""new KeyboardEvent("keydown", {{ key: "Enter", {how}, bubbles: true, cancelable: true }})"""
        person.composer.evaluate(f"box => box.dispatchEvent({press})")
    expect(person.composer).to_have_value("안녕")
    person.page.keyboard.press("Shift+Enter")
    expect(person.composer).to_have_value("안녕\n")
    expect(person.questions).to_have_count(0)


def test_too_long_question_is_counted_and_stays(person: Person) -> None:
    count = person.page.locator(".naru-count")
    person.composer.fill("x" * 1000)
    expect(count).to_have_text("")
    person.composer.fill("x" * 31_000)
    expect(count).to_have_text("31,000 / 32,000")
    person.composer.fill("x" * 33_000)
    person.composer.press("Enter")
    expect(hint(person)).to_have_text(EN["live.hint_too_long"])
    assert len(person.composer.input_value()) == 33_000
    person.composer.fill("[[sim: tokens=5]] short")
    expect(hint(person)).to_have_text("")
    person.composer.press("Enter")
    person.wait_for_end()


def test_pasted_image_is_answered_with_a_hint(person: Person) -> None:
    person.composer.evaluate(
        """box => {
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File(["x"], "a.png", { type: "image/png" }));
          box.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }"""
    )
    expect(hint(person)).to_have_text(EN["live.hint_no_files"])
    person.page.keyboard.type("x")
    expect(hint(person)).to_have_text("")


def test_busy_model_is_not_called_a_lost_connection(person: Person) -> None:
    person.page.evaluate(
        """() => {
          window.said = new Set();
          const words = document.querySelector(".naru-words");
          new MutationObserver(() => window.said.add(words.textContent)).observe(words, { childList: true });
        }"""
    )
    person.ask("[[sim: fault=503 times=1 first=1.5 tokens=5]] x")
    person.wait_for_end()
    said = person.page.evaluate("() => [...window.said].join('|')")
    assert "2nd try" in said
    assert EN["live.again"].split(".")[0] not in said


def test_other_tab_shows_the_new_chat(person: Person) -> None:
    person.ask(SHORT + "here")
    person.wait_for_end()
    other = person.another_tab()
    new_chat(other)
    other.ask(SHORT + "there")
    other.wait_for_end()
    person.page.bring_to_front()
    expect(person.page.locator(".naru-link", has_text="there")).to_be_visible()


def test_page_reports_silence_in_an_answer(person: Person) -> None:
    person.ask("[[sim: fault=hang at=30]] x")
    person.wait_for_text(characters=20)
    expect(person.page.locator(".naru-words")).to_have_text(EN["live.quiet"])
    person.composer.press("Escape")
    expect(person.page.locator(".naru-remark")).to_be_visible()
