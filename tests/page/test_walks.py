"""User journeys in Chromium on the real stack: ask, reload, second tab, stop, links, keyboard, phone, Korean."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect
from sqlalchemy import text

from shared.postgres.database import make_engine
from tests.page.person import COMPOSER, Person, newcomer, visitor
from tests.page.pictures import fill
from tests.patience import patient_ms
from tests.stack import WIDE_LIMITS, Stack, wait_until

pytestmark = pytest.mark.browser
SLOW = "[[sim: tokens=1500 pace=40]] "


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: each test has its own browser, which cannot see the others' conversations."""
    return module_stack


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    """The page's address, with a worker and the simulator behind it."""
    stack.start_simulator()
    stack.start_worker()
    return stack.start_web(**WIDE_LIMITS).url


@pytest.fixture
def person(browser: Browser, url: str) -> Iterator[Person]:
    """A user on a new page."""
    with newcomer(browser, url) as found:
        yield found.open()
        assert found.errors == []


def focused(person: Person) -> str:
    """Return the focused element's test id."""
    return str(person.page.evaluate("() => document.activeElement.dataset.testid ?? document.activeElement.tagName"))


def is_at_end(person: Person) -> bool:
    """Whether the view is at the end."""
    left = "main => main.scrollHeight - main.scrollTop - main.clientHeight"
    return bool(person.page.get_by_test_id("stMain").evaluate(left) < 60)


def room_under(person: Person) -> float:
    """Return the pixels between the answer's last line and the composer."""
    last = person.page.locator(".naru-about").bounding_box()
    bottom = person.page.get_by_test_id("stBottom").bounding_box()
    assert last is not None
    assert bottom is not None
    return bottom["y"] - last["y"] - last["height"]


def stands_at(text: Locator, y: float) -> bool:
    """Whether the text is within two lines of this height."""
    box = text.bounding_box()
    return box is not None and abs(box["y"] - y) < 60


def stands_still(person: Person) -> bool:
    """Whether the running answer does not grow for 0.3 s."""
    length = len(person.live.inner_text())
    person.page.wait_for_timeout(300)
    return len(person.live.inner_text()) == length


def test_user_can_ask_with_the_keyboard_alone(person: Person) -> None:
    expect(person.page.locator(".st-key-empty")).to_be_visible()
    expect(person.page).to_have_title("Naru")
    assert focused(person) == COMPOSER
    person.page.keyboard.type("Show me code and a table")
    person.page.keyboard.press("Enter")
    person.wait_for_text()
    expect(person.questions).to_have_text(["You askedShow me code and a table"])
    person.wait_for_end()
    assert focused(person) == COMPOSER
    expect(person.answers.locator("code").first).to_be_visible()
    expect(person.page.locator(".naru-badge")).to_have_text(["Demo"])


def test_reload_and_second_tab_show_the_same_running_answer(person: Person) -> None:
    person.ask(SLOW + "a long one")
    before = person.wait_for_text(characters=200)
    address = person.page.url
    person.page.reload()
    assert person.wait_for_text(characters=200).startswith(before[:150])
    assert person.page.url == address
    other = person.another_tab()
    assert other.wait_for_text(characters=200).startswith(before[:150])
    person.page.locator(".naru-stop").click()
    for tab in (person, other):
        expect(tab.page.locator(".naru-remark")).to_have_text("Stopped")
        tab.wait_for_end()


def test_reload_shows_the_text_before_streamlit_starts(person: Person) -> None:
    person.ask(SLOW + "a long one")
    before = person.wait_for_text(characters=200)
    at = person.live.bounding_box()
    streamlit = "**/static/js/index.*.js"
    person.page.route(streamlit, lambda route: route.abort())
    person.page.reload()
    early = person.page.locator(".naru-early .naru-answer")
    expect(early).to_have_text(re.compile(r"[\s\S]{200,}"))
    assert early.inner_text().startswith(before[:150])
    there = early.bounding_box()
    assert at is not None
    assert there is not None
    assert (there["x"], there["width"]) == (at["x"], at["width"])
    person.errors.clear()  # Chromium reports the aborted request
    person.page.unroute(streamlit)
    person.page.reload()
    assert person.wait_for_text(characters=200).startswith(before[:150])
    expect(early).to_have_count(0)
    person.page.locator(".naru-stop").click()
    expect(person.page.locator(".naru-remark")).to_have_text("Stopped")


def test_draft_and_running_answer_survive_a_language_switch(person: Person) -> None:
    person.ask(SLOW + "go on")
    person.wait_for_text(characters=50)
    person.composer.fill("half a thought")
    person.page.get_by_text("한국어").click()
    expect(person.page.locator(".naru-stop")).to_have_text("중지")
    expect(person.composer).to_have_value("half a thought")
    length = len(person.wait_for_text(characters=50))
    person.wait_for_text(characters=length + 20)
    person.composer.press("Enter")
    expect(person.page.locator(".naru-hint")).to_contain_text("아직 답변이 진행 중입니다")
    expect(person.composer).to_have_value("half a thought")
    person.page.locator(".naru-stop").click()
    expect(person.page.locator(".naru-remark")).to_have_text("중지됨")
    assert focused(person) == COMPOSER


def test_draft_survives_a_reload_in_its_conversation(person: Person) -> None:
    person.ask("[[sim: tokens=5]] x")
    person.wait_for_end()
    person.composer.press_sequentially("not sent yet")
    person.page.reload()
    expect(person.composer).to_have_value("not sent yet")
    person.page.get_by_role("link", name="New chat").click()
    expect(person.page.locator(".st-key-empty")).to_be_visible()
    expect(person.composer).to_have_value("")
    person.page.go_back()
    expect(person.answers).to_have_count(1)
    expect(person.composer).to_have_value("not sent yet")


def test_question_sent_while_a_new_chat_opens_belongs_to_it(person: Person) -> None:
    person.ask("[[sim: tokens=5]] old")
    person.wait_for_end()
    old = person.page.url
    person.composer.press_sequentially("kept for later")
    person.page.evaluate(
        """text => {
          document.querySelector("a.naru-new").click();
          const box = document.querySelector("[data-testid='stChatInputTextArea']");
          Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
          box.dispatchEvent(new Event("input", { bubbles: true }));
          box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
        }""",
        "[[sim: tokens=5]] new",
    )
    expect(person.questions).to_have_text(["You asked[[sim: tokens=5]] new"])
    person.wait_for_end()
    assert person.page.url != old
    expect(person.composer).to_have_value("")
    person.page.go_back()
    expect(person.questions).to_have_text(["You asked[[sim: tokens=5]] old"])
    expect(person.composer).to_have_value("kept for later")


def test_sent_question_clears_the_draft(person: Person) -> None:
    person.composer.press_sequentially("[[sim: tokens=5]] x")
    person.composer.press("Enter")
    expect(person.questions).to_have_count(1)
    person.page.reload()
    person.wait_for_end()
    expect(person.composer).to_have_value("")


def test_reload_right_after_enter_loses_nothing(person: Person) -> None:
    """If the socket closes before the question's turn comes, its text returns to the box."""
    text = "[[sim: tokens=5]] x"
    person.composer.press_sequentially(text)
    person.composer.press("Enter")
    expect(person.composer).to_have_value("")
    person.page.reload()
    sent_or_back = f"""() => {{
      const box = document.querySelector("[data-testid='stChatInputTextArea']")?.value;
      const asked = document.querySelectorAll(".naru-question").length;
      return (asked === 1 && box === "") || (asked === 0 && box === "{text}");
    }}"""
    person.page.wait_for_function(sent_or_back)
    person.page.wait_for_timeout(1000)
    assert person.page.evaluate(sent_or_back)


def test_pressing_enter_twice_asks_once(person: Person) -> None:
    person.composer.fill("[[sim: tokens=40]] once")
    person.composer.press("Enter")
    person.composer.press("Enter")
    person.wait_for_end()
    expect(person.questions).to_have_count(1)


def test_regenerate_replaces_the_answer(person: Person) -> None:
    person.ask("[[sim: tokens=20]] hello")
    person.wait_for_end()
    person.page.get_by_role("button", name="Regenerate").click()
    expect(person.answers).to_have_count(0)
    person.wait_for_end()
    expect(person.questions).to_have_count(1)


def test_failure_shows_its_reason_and_a_retry_button(person: Person) -> None:
    person.ask("[[sim: fault=quota times=1]] hello")
    expect(person.page.locator(".naru-failed")).to_contain_text("quota", timeout=patient_ms(15))
    expect(person.page.locator(".naru-spoken[role='status']")).to_contain_text("quota")
    person.page.get_by_role("button", name="Try again").click()
    expect(person.page.locator(".naru-failed")).to_have_count(0)
    person.wait_for_end()


def test_sidebar_links_can_be_renamed_and_deleted(person: Person) -> None:
    for question in ("first", "second"):
        person.page.get_by_role("link", name="New chat").click()
        expect(person.page.locator(".st-key-empty")).to_be_visible()
        person.ask(f"[[sim: tokens=5]] {question}")
        person.wait_for_end()
    second = person.page.url
    expect(person.page.locator(".naru-link[aria-current]")).to_have_text(["[[sim: tokens=5]] second"])
    expect(person.page).to_have_title("[[sim: tokens=5]] second · Naru")
    expect(person.page.get_by_role("button", name="Rename or delete this chat", exact=True)).to_be_visible()
    person.page.locator(".naru-link", has_text="first").click()
    expect(person.questions).to_contain_text(["first"])
    expect(person.page).not_to_have_url(second)
    person.page.locator(".st-key-conversation-menu button").first.click()
    person.page.get_by_text("Rename", exact=True).click()
    person.page.get_by_role("dialog").get_by_role("textbox").fill(":red[my] **title**")
    person.page.get_by_role("button", name="Save").click()
    expect(person.page.locator(".st-key-open-conversation .naru-link")).to_have_text(":red[my] **title**")
    address = person.page.url
    person.page.locator(".st-key-conversation-menu button").first.click()
    person.page.get_by_text("Delete", exact=True).click()
    person.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(person.page.locator(".st-key-empty")).to_be_visible()
    expect(person.page.locator(".naru-link")).to_have_count(2)
    person.page.goto(address)
    expect(person.page.locator(".naru-notice")).to_contain_text("was deleted, or you can't see it")


@pytest.mark.parametrize("address", ["/?c=nonsense", "/?c=", "/?c=581f1694-51fd-4926-a0af-ebaeb0860d11"])
def test_page_of_an_unknown_chat_offers_a_new_chat(browser: Browser, url: str, address: str) -> None:
    with newcomer(browser, url, locale="ko-KR") as stranger:
        stranger.page.goto(url + address)
        expect(stranger.page.locator(".naru-notice")).to_contain_text("삭제되었거나 볼 수 없는 대화입니다")
        stranger.page.locator(".st-key-way-out button").click()
        expect(stranger.page.locator(".st-key-empty")).to_be_visible()


def test_other_browsers_cannot_see_a_chat(browser: Browser, person: Person) -> None:
    person.ask("[[sim: tokens=5]] private")
    person.wait_for_end()
    with newcomer(browser, person.url) as stranger:
        stranger.page.goto(person.page.url)
        expect(stranger.page.locator(".naru-notice")).to_contain_text("was deleted, or you can't see it")
        expect(stranger.questions).to_have_count(0)
        expect(stranger.page.locator(".st-key-conversations .naru-link")).to_have_count(0)


def test_composer_hides_no_text_on_a_phone(browser: Browser, url: str) -> None:
    with newcomer(browser, url, viewport={"width": 390, "height": 700}, locale="ko-KR") as person:
        person.open().ask("코드와 표를 보여 주세요")
        person.wait_for_end()
        wait_until(lambda: room_under(person) >= -1, what="the answer's last line is above the composer")
        assert person.page.evaluate("() => document.documentElement.scrollWidth") <= 390
        assert person.errors == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_page_with_an_answer_loads_no_table_or_chart_code(stack: Stack, person: Person) -> None:
    person.ask("코드와 표를 보여 주세요")
    person.wait_for_end()
    person.page.locator(".st-key-conversation-menu button").first.click()
    person.page.get_by_text("Rename", exact=True).click()
    expect(person.page.get_by_role("dialog")).to_be_visible()
    web = next(process for process in stack.processes if process.url == person.url)
    heavy = re.compile(r"/(pandas|pyarrow|numpy|PIL|altair|pydeck)/")
    assert "svg" in person.page.request.get(f"{person.url}/favicon.png").headers["content-type"]
    assert set(heavy.findall(Path(f"/proc/{web.pid}/maps").read_text())) == set()  # each would be tens of MB


def test_copy_button_copies_the_answers_markdown(browser: Browser, url: str) -> None:
    with newcomer(browser, url, permissions=["clipboard-read", "clipboard-write"]) as person:
        person.open().ask('[[sim: text="**bold** and $5"]] x')
        person.wait_for_end()
        person.page.locator(".naru-copy").click()
        expect(person.page.locator(".naru-copied")).to_be_visible()
        assert person.page.evaluate("() => navigator.clipboard.readText()") == "**bold** and $5"


def test_copy_works_without_the_clipboard_api(browser: Browser, url: str) -> None:
    with visitor(browser, url) as person:
        person.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        person.open().ask('[[sim: text="**bold** and $5"]] x')
        person.wait_for_end()
        person.page.locator(".naru-copy").click()
        expect(person.page.locator(".naru-copied")).to_be_visible()
        person.composer.focus()
        person.page.keyboard.press("Control+V")
        expect(person.composer).to_have_value("**bold** and $5")


def test_page_autoscrolls_only_at_the_end(person: Person) -> None:
    person.ask(SLOW + "scroll")
    person.wait_for_text(characters=1800)
    main = person.page.get_by_test_id("stMain")
    # Without user input the view follows the text, as it does when old messages make room for new ones.
    main.evaluate("main => { main.scrollTop -= 300; }")
    wait_until(partial(is_at_end, person), what="the view is back at the end")
    expect(person.page.locator(".naru-newer")).to_be_hidden()
    person.page.mouse.move(640, 400)
    for _ in range(5):  # a busy browser may drop a part of one long turn
        person.page.mouse.wheel(0, -5000)
    expect(person.page.locator(".naru-newer")).to_be_visible()
    wait_until(lambda: main.evaluate("main => main.scrollTop") < 10, what="the wheel has scrolled")
    person.page.wait_for_timeout(600)
    assert main.evaluate("main => main.scrollTop") < 10
    person.page.locator(".naru-newer").click()
    wait_until(partial(is_at_end, person), what="the view is at the end")


def test_hidden_tab_disconnects_and_catches_up(person: Person) -> None:
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    person.ask(SLOW + "hide")
    person.wait_for_text(characters=50)
    person.page.evaluate(hide, True)
    wait_until(partial(stands_still, person), what="pending text has arrived")
    length = len(person.live.inner_text())
    person.page.wait_for_timeout(1000)
    assert len(person.live.inner_text()) == length
    person.page.evaluate(hide, False)
    person.wait_for_text(characters=length + 40)


def test_long_chat_shows_its_last_thirty_messages(stack: Stack, person: Person) -> None:
    person.ask("[[sim: tokens=5]] x")
    person.wait_for_end()
    engine = make_engine(stack.settings, name="test")
    with engine.connect() as connection:
        chosen = text("SELECT owner_id FROM conversation WHERE id = :id")
        owner_id = connection.execute(chosen, {"id": person.page.url.partition("?c=")[2]}).scalar_one()
    person.open(f"/?c={fill(engine, owner_id=owner_id, messages=500)}")
    engine.dispose()
    expect(person.answers).to_have_count(15)
    main = person.page.get_by_test_id("stMain")
    main.evaluate("main => main.scrollTo(0, 0)")
    first = person.questions.first.inner_text().splitlines()[-1]
    read = person.questions.filter(has_text=first)
    before = read.bounding_box()
    person.page.get_by_role("button", name="Show earlier messages").click()
    expect(person.answers).to_have_count(30)
    assert before is not None
    person.page.wait_for_timeout(500)
    wait_until(partial(stands_at, read, before["y"]), what="the visible text keeps its place")
    person.open(person.page.url)
    expect(person.answers).to_have_count(15)
    wait_until(partial(is_at_end, person), what="the view is at the end")
    person.ask(SLOW + "old messages make room, and the view follows the new one")
    person.wait_for_text(characters=1200)
    expect(person.page.locator(".naru-newer")).to_be_hidden()
    wait_until(partial(is_at_end, person), what="the view stays at the end")


def test_page_neutralizes_markup_in_answers(person: Person) -> None:
    text = '<b>raw</b> :red[x] ![i](https://example.org/x.png) [j](javascript:alert) $5 and $10 **\\"굵게\\"**는'
    person.ask(f'[[sim: text="{text}"]] x')
    person.wait_for_end()
    expect(person.answers).to_contain_text('<b>raw</b> :red[x] i [j](javascript:alert) $5 and $10 "굵게"\u2060는')
    expect(person.answers.locator("strong")).to_have_text('"굵게"')
    expect(person.answers.locator("img")).to_have_count(0)
