"""The page around a conversation: Streamlit's texts in Korean, touch targets, printing, unknown addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.page.person import Person, newcomer
from tests.patience import patient_ms
from tests.stack import Stack

pytestmark = pytest.mark.browser
#: Latin words that a Korean page may contain: names of products, formats, settings, keys and the language.
NAMES = re.compile(
    r"English|OPENAI_API_KEY|ANTHROPIC_API_KEY|PostgreSQL|SQLite|Enter|simulator|Naru|python|Markdown|JSON",
    re.IGNORECASE,
)
#: Return the Latin text that a user can read or hear: in rendered elements, and in attributes that are read aloud.
HEARD = """() => {
  const names = ["aria-label", "title", "placeholder", "aria-roledescription", "alt"];
  const own = ".naru-question, .naru-link, h1.naru-spoken,"
    + "[class*='st-key-answer-'] [data-testid='stMarkdownContainer'] p";
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest(`${own}, [aria-hidden='true']`)) continue;
    for (const name of names) found.push(element.getAttribute(name) ?? "");
    for (const node of element.childNodes) if (node.nodeType === Node.TEXT_NODE) found.push(node.data);
  }
  return found.filter((text) => /[A-Za-z]{2}/.test(text));
}"""
TOUCHED = "a[href], button, input:not([type='hidden']), textarea, [role='radio'], [role='menuitem'], [role='option']"
INLINE = "p, li, h1, [aria-hidden='true'], [data-testid='stSkipToContent']"
FOOTNOTES = r'[[sim: text="# 제목\n\n```python\nx = 1\n```\n\n각주[^1]\n\n[^1]: 여기"]] 보여 주세요'


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
def korean(browser: Browser, url: str) -> Iterator[Person]:
    """A user with a Korean browser."""
    with newcomer(browser, url, locale="ko-KR") as found:
        yield found
        assert found.errors == []


def english(person: Person) -> list[str]:
    """Return the English text that a user can read or hear."""
    person.page.wait_for_timeout(300)
    return [text for text in person.page.evaluate(HEARD) if re.search("[A-Za-z]{2}", NAMES.sub("", text))]


def test_korean_page_says_nothing_in_english(korean: Person) -> None:
    korean.open()
    assert korean.page.evaluate("() => document.documentElement.lang") == "ko"
    heard = {"empty": english(korean)}
    korean.ask("[[sim: first=600]] 기다려 주세요")
    expect(korean.block).to_be_visible()
    heard["thinking"] = english(korean)
    korean.page.locator(".naru-stop").first.click()
    expect(korean.page.locator(".naru-remark")).to_be_visible()
    heard["stopped"] = english(korean)
    korean.open("/").ask(FOOTNOTES)
    korean.wait_for_end()
    korean.answers.locator("pre").hover()
    heard["ended"] = english(korean)
    korean.page.locator(".st-key-conversation-menu button").first.click()
    heard["menu"] = english(korean)
    korean.page.get_by_role("menuitem").first.click()
    expect(korean.page.get_by_role("dialog")).to_be_visible()
    korean.page.get_by_role("dialog").get_by_role("textbox").fill("새 제목")
    heard["rename"] = english(korean)
    korean.page.keyboard.press("Escape")
    korean.page.get_by_test_id("stSidebarCollapseButton").locator("button").click(force=True)
    heard["closed sidebar"] = english(korean)
    assert {state: texts for state, texts in heard.items() if texts} == {}


def test_language_changes_streamlits_words_too(korean: Person) -> None:
    skip = korean.open().page.get_by_test_id("stSkipToContent")
    expect(skip).to_have_text("본문으로 건너뛰기")
    korean.page.get_by_text("English", exact=True).click()
    expect(skip).to_have_text("Skip to main content")
    expect(korean.page.get_by_role("button", name="Send message")).to_be_attached()
    assert korean.page.evaluate("() => document.documentElement.lang") == "en"


def test_language_switch_leaves_user_text_alone(korean: Person) -> None:
    korean.open().ask("Skip to main content")
    korean.wait_for_end()
    expect(korean.questions).to_contain_text(["Skip to main content"])
    expect(korean.page.locator(".st-key-open-conversation .naru-link")).to_have_attribute(
        "title", "Skip to main content"
    )


def test_reload_on_a_phone_shows_the_chat_and_not_the_list(browser: Browser, url: str) -> None:
    with newcomer(browser, url, viewport={"width": 390, "height": 844}) as person:
        person.open().page.get_by_role("button", name="Expand sidebar").click()
        expect(person.page.get_by_test_id("stSidebarCollapseButton")).to_be_visible()
        person.open()
        expect(person.page.get_by_role("button", name="Expand sidebar")).to_be_visible()


def test_touch_targets_are_at_least_44_px(browser: Browser, url: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with newcomer(browser, url, **phone) as person:
        small = {"empty": too_small(person.open().page.locator("body"))}
        person.ask(FOOTNOTES)
        person.wait_for_end()
        small["ended"] = too_small(person.page.locator("body"))
        menu = person.page.get_by_role("button", name="Expand sidebar")
        menu.tap()
        expect(person.page.get_by_test_id("stSidebarCollapseButton")).to_be_in_viewport(ratio=1)
        small["sidebar"] = too_small(person.page.get_by_test_id("stSidebar"))
    assert {state: what for state, what in small.items() if what} == {}


def too_small(within: Locator) -> list[str]:
    """Return the visible touch targets under 44 px, except links within text, which are as high as their line."""
    found: list[str] = within.evaluate(
        """(within, [touched, inline]) => [...within.querySelectorAll(touched)]
          .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(inline))
          .map((element) => [element, (element.closest("label") ?? element).getBoundingClientRect()])
          .filter(([, { width, height, right }]) => width > 1 && right > 0 && (height < 43.5 || width < 43.5))
          .map(([element, { width, height }]) => `${element.outerHTML.slice(0, 160)} ${width}x${height}`)""",
        [TOUCHED, INLINE],
    )
    return found


def test_print_shows_only_the_conversation(korean: Person) -> None:
    korean.open().ask("[[sim: tokens=400]] 길게")
    korean.wait_for_end()
    korean.page.emulate_media(media="print", color_scheme="dark")
    for part in ("stSidebar", "stBottom", "stHeader"):
        expect(korean.page.get_by_test_id(part)).to_be_hidden()
    expect(korean.questions).to_be_visible()
    main = korean.page.get_by_test_id("stMain")
    assert main.evaluate("main => main.scrollHeight - main.clientHeight") <= 1, "nothing is cut off"
    ink = korean.answers.locator("p").first.evaluate("text => getComputedStyle(text).color")
    assert ink == "rgb(27, 34, 34)"
    korean.page.emulate_media(media="null", color_scheme="null")


@pytest.mark.parametrize(("locale", "said"), [("ko-KR", "없는 페이지입니다"), ("en-US", "This page does not exist")])
def test_unknown_address_returns_404_with_a_home_link(browser: Browser, url: str, locale: str, said: str) -> None:
    with newcomer(browser, url, locale=locale) as person:
        answer = person.page.goto(f"{url}/nope/deep")
        assert answer is not None
        assert answer.status == 404
        expect(person.page.get_by_role("heading")).to_have_text(said)
        person.page.get_by_role("link").click()
        expect(person.composer).to_be_visible(timeout=patient_ms(15))


def test_other_addresses_are_not_answered_with_the_page(korean: Person) -> None:
    get = korean.page.request.get
    icon = get(f"{korean.url}/favicon.ico")
    assert (icon.status, icon.headers["content-type"], icon.body()[:4]) == (200, "image/x-icon", b"\0\0\1\0")
    manifest = get(f"{korean.url}/manifest.json")
    assert manifest.headers["content-type"].startswith("application/manifest+json")
    assert manifest.json()["name"] == "Naru"
    missing = get(f"{korean.url}/api/nope", headers={"accept": "application/json"})
    assert (missing.status, missing.json()["error"]) == (404, "no_such_page")
    assert get(f"{korean.url}/_stcore/health").status == 200


def test_language_switch_does_not_truncate_its_names(korean: Person) -> None:
    names = korean.open().page.locator(".st-key-foot [role='radio'] p")
    expect(names).to_have_text(["English", "한국어"])
    assert names.evaluate_all("names => names.filter(name => name.scrollWidth > name.clientWidth).length") == 0
