"""Harmful texts from the user and from the model: live, after the answer has ended, and after a reload.

The browser bypasses the page's content security policy, so the tests check the page's own defences; the policy is the
second line. tests/launcher/test_hostile.py covers the commands. tests/page/test_markdown.py and test_live_markdown.py
test the parsers alone, which is faster.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
import redis
from PIL import Image
from playwright.sync_api import Browser, Dialog, Locator, Request, expect

from tests.conftest import TEMPLATE
from tests.page.person import Person, visitor
from tests.patience import patient_ms, slowness
from tests.stack import Servers, Stack, wait_until

pytestmark = pytest.mark.browser
LIMIT = 32_000
USABLE_MS = patient_ms(15)  # generous for a busy machine; a hang lasts minutes
EVIL = "http://evil.example"
IMAGE = f"![x]({EVIL}/x.png)"
ACT = "window.acted=1"
LINKS = (
    f"javascript:{ACT}",
    f"JaVaScRiPt:{ACT}",
    f"java\tscript:{ACT}",
    f"\x01javascript:{ACT}",
    f"&#106;avascript&colon;{ACT}",
    f"java&Tab;script:{ACT}",
    f"<javascript:{ACT}>",
    f"vbscript:{ACT}",
    f"data:text/html,<script>{ACT}</script>",
    "DATA:text/html;base64,PHNjcmlwdD4=",
)
MARKUP = "\n\n".join(
    (
        f"<script>{ACT}</script> **so-far**",
        f"<img src=x onerror={ACT}><img src={EVIL}/a.png><svg onload={ACT}><svg/onload={ACT}//",
        f'<iframe srcdoc="<script>parent.{ACT}</script>"></iframe><object data={EVIL}></object><embed src={EVIL}>',
        f"<style>@import url({EVIL}/a.css);*{{display:none}}</style><link rel=stylesheet href={EVIL}/b.css>",
        f"<form action={EVIL}><input autofocus onfocus={ACT}></form><base href={EVIL}>",
        "<meta http-equiv=refresh content=0><details open ontoggle=alert(1)>",
        f'<a href="javascript:{ACT}">a</a> <div class="naru-bar" style="position:fixed;inset:0">Sign in</div>',
        *(f"[link {number}]({link})" for number, link in enumerate(LINKS)),
        f"[one], [two][one], ![one], ![two][one], ![three][]\n\n[one]: javascript:{ACT}\n[three]: {EVIL}/3.png",
        f"<javascript:{ACT}> <http://a\x01{IMAGE}> http://a{IMAGE} !{IMAGE} [{IMAGE}]({EVIL}) \\\\{IMAGE}",
        f"| a | b |\n|---|---|\n| {IMAGE} | `a | {IMAGE} |\n| \\(a | {IMAGE} \\) |",
        f"> > ```\n> {IMAGE}\n\n> a `\n> `{IMAGE}`\n\n- a\nlazy\n\n    {IMAGE}\n\n1. ```\n  {IMAGE}",
        f":red[x] :material/home: :streamlit: :blue-badge[x] $5 and $10 :::note\n\n[^1]\n\n[^1]: a\n\n    {IMAGE}",
        f"text\n2. ~~~\n   {IMAGE}\n   ~~~\n\n```\n{IMAGE}\n```\n\nthe-end",
    )
)
FORBIDDEN = (
    "script,img,iframe,svg,style,form,input,object,embed,link,base,meta,video,audio,[onerror],[onload],[onfocus]"
)
FOUND = """(message, forbidden) => {
  const found = [];
  for (const node of message.querySelectorAll("*")) {
    if (node.closest("[data-testid='stCode'] button, [data-testid='stHeadingWithActionElements'] a")) continue;
    if (node.matches(forbidden)) found.push(node.outerHTML.slice(0, 100));
    const target = node.getAttribute("href");
    if (target && !/^(https?:\\/\\/|mailto:|#|\\?c=)/i.test(target)) found.push(target);
    if (node.classList.contains("naru-bar") || getComputedStyle(node).position === "fixed") found.push(node.className);
  }
  return found;
}"""


class Watched(Person):
    """A user whose browser records the effects of a text."""

    def watch(self) -> Watched:
        """Start recording. Call this before opening a page."""
        self.done: list[str] = []
        self.page.on("request", self._requested)
        self.page.on("dialog", self._spoken_to)
        self.page.on("popup", lambda page: self.done.append(page.url))
        self.page.on("crash", lambda _: self.done.append("crashed"))
        self.page.set_default_timeout(USABLE_MS)
        return self

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self.url + "/", "data:", "blob:")):
            self.done.append(request.url)

    def _spoken_to(self, dialog: Dialog) -> None:
        self.done.append(dialog.message)
        dialog.dismiss()

    def is_unharmed(self, *messages: Locator) -> None:
        """Assert that nothing ran or was fetched, and that no message contains a forbidden element or link."""
        for message in messages:
            expect(message).not_to_have_count(0)
            for each in message.all():
                assert each.evaluate(FOUND, FORBIDDEN) == []
        assert self.page.evaluate("() => window.acted") is None
        assert self.done == []
        assert self.errors == []
        expect(self.page.get_by_test_id("stException")).to_have_count(0)

    def is_usable(self) -> None:
        """Assert that the composer still accepts text."""
        self.composer.fill("typed")
        expect(self.composer).to_have_value("typed", timeout=USABLE_MS)
        self.composer.fill("")


@pytest.fixture(scope="module")
def url(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address on one stack for all tests; each test has its own browser profile."""
    redis_url = servers.redis_server.url_of(servers.redis_server.databases - 1)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    database_url = servers.create_database("hostile", template=TEMPLATE)
    stack = Stack(tmp_path_factory.mktemp("hostile"), database_url, redis_url, servers)
    try:
        stack.start_simulator()
        stack.start_worker()
        yield stack.start_web().url
    finally:
        stack.close()
        servers.drop_database("hostile")


@pytest.fixture
def person(browser: Browser, url: str) -> Iterator[Watched]:
    """A user on a new page."""
    with visitor(browser, url, bypass_csp=True) as found:
        watched = Watched(found.page, url).watch()
        watched.open()
        yield watched


def test_markup_does_nothing_live_ended_reloaded_and_as_a_title(person: Watched) -> None:
    # Slow enough for the page to be seen while the second half arrives.
    person.ask(f"{MARKUP} [[sim: echo size=40 pace={20 / slowness():.1f}]]")
    person.wait_for_text(characters=len(MARKUP) // 2)
    person.is_unharmed(person.live, person.questions)
    person.wait_for_end()
    for _ in ("ended", "reloaded"):
        expect(person.answers).to_contain_text("the-end")
        person.is_unharmed(person.answers, person.questions, person.page.locator(".naru-link"))
        expect(person.page.locator(".naru-link[aria-current]")).to_contain_text(f"<script>{ACT}")
        expect(person.page).to_have_title(re.compile(re.escape(f"<script>{ACT}")))
        person.page.reload()
        person.wait_for_end()
    person.page.locator(".st-key-conversation-menu button").first.click()
    person.page.get_by_text("Delete", exact=True).click()
    expect(person.page.get_by_role("dialog")).to_contain_text("<script>")
    person.is_unharmed(person.page.locator(".naru-dialog-text"))


def test_odd_characters_stay_within_their_message(browser: Browser, url: str) -> None:
    with visitor(browser, url, bypass_csp=True, viewport={"width": 390, "height": 700}) as found:
        person = Watched(found.page, url).watch()
        person.open()
        odd = "\u202eturned\u2066\u0007\u001b[31m\u0085\ufeff" + "\u200b" * 500 + "Z" + "\u0323" * 300 + "\u0301" * 300
        answer = rf'text="{odd}\u0000\ud800\udc00\ud800{"x" * 4000}" repeat=20 size=1000 pace=50'
        person.ask(f"{odd} [[sim: {answer}]] {'y' * 15_000} {odd}")
        person.wait_for_text(characters=5000)
        for _ in ("live", "ended", "reloaded"):
            assert person.page.evaluate("() => document.documentElement.scrollWidth") <= 390
            assert re.search("[\u202a-\u202e\u2066-\u2069]", person.page.title()) is None
            person.wait_for_end()
            person.is_usable()
            # The view may still be moving.
            wait_until(lambda: nothing_is_painted_between(person), what="nothing is painted beyond its line")
            person.page.reload()
        person.is_unharmed(person.answers, person.questions)


#: Return the top and bottom of the gap between question and answer, less 6 px for each edge's blurred line.
GAP = """() => {
  const question = document.querySelector(".naru-question").getBoundingClientRect();
  const answer = document.querySelector("[class*='st-key-answer-'] [data-testid='stMarkdown']").getBoundingClientRect();
  return [question.bottom + 6, answer.top - 6];
}"""


def nothing_is_painted_between(person: Person) -> bool:
    """Whether the gap under the question is empty."""
    # The page's own font does not stack marks; a system's fallback fonts do.
    person.page.add_style_tag(content=".naru-question { font-family: sans-serif !important }")
    person.answers.evaluate("(node) => { node.scrollIntoView(); document.querySelector('.stMain').scrollBy(0, -200); }")
    # Read both ends in one step: the view may move in between.
    top, bottom = person.page.evaluate(GAP)
    # Cut the picture here: Chromium refuses a clip that the view has left meanwhile.
    seen = Image.open(io.BytesIO(person.page.screenshot()))
    if bottom - top < 1 or top < 0 or bottom > seen.height:
        return False
    picture = seen.crop((0, int(top), seen.width, math.ceil(bottom)))
    return len(picture.convert("RGB").getcolors(100_000) or "many") == 1


#: Repeated 10,000 times, each would exhaust the browser's stack or time without bounds. tests/page has more of them,
#: and is faster.
PATHOLOGICAL = (">", "> - ", "![", "*a **b ")


def test_page_survives_pathological_markdown(person: Watched) -> None:
    for count, part in enumerate(PATHOLOGICAL, start=1):
        person.ask(f'[[sim: text="{part}" repeat=10000 size=5000 pace=40]] {part * 2000}')
        person.wait_for_end(answers=count)
        person.is_usable()
    person.page.reload()
    person.wait_for_end(answers=len(PATHOLOGICAL))
    person.is_unharmed(person.answers)
    expect(person.answers).to_have_count(len(PATHOLOGICAL))


PART = r"- item **x** and `y`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nx = 1\n```\n\n"
PARTS = 16_000


def test_megabyte_from_a_model_leaves_the_page_usable(person: Watched) -> None:
    length = len((PART.replace(r"\n", "\n") * PARTS).strip())
    assert length > 1_000_000
    person.ask(f'[[sim: text="{PART}" repeat={PARTS} size=20000 pace=10]] to stop')
    person.wait_for_text(characters=5000)
    person.is_usable()
    expect(person.page.locator(".naru-words")).to_contain_text("too long to show whole", timeout=USABLE_MS)
    person.page.locator(".naru-stop").click()
    expect(person.page.locator(".naru-remark", has_text="Stopped")).to_be_visible(timeout=USABLE_MS)
    person.wait_for_end()
    person.ask(f'[[sim: text="{PART}" repeat={PARTS} size=20000 pace=40]] to its end')
    person.wait_for_end(answers=2)
    person.page.reload()
    person.wait_for_end(answers=2)
    expect(person.page.locator(".naru-remark", has_text="too long to show whole").last).to_be_visible()
    copied = person.page.locator(".st-key-last-actions .naru-copy").get_attribute("data-naru-copy")
    assert len(unquote(copied or "").strip()) == length
    person.is_usable()
    person.page.get_by_role("link", name="New chat").click()
    expect(person.page.locator(".st-key-empty")).to_be_visible(timeout=USABLE_MS)
    person.page.locator(".naru-link:not(.naru-new)").first.click()
    expect(person.answers).to_have_count(2, timeout=USABLE_MS)
    person.is_unharmed(person.answers)


def test_question_over_the_limit_is_refused_and_kept(person: Watched) -> None:
    question = ("[[sim: tokens=5]] " + MARKUP * 40)[:LIMIT]
    for text in (question + "!", "\U0001f600" * 100_000):
        person.ask(text)
        expect(person.page.locator(".naru-hint")).to_contain_text("too long")
        expect(person.page.locator(".naru-count")).to_contain_text(f"{LIMIT:,}")
        expect(person.composer).to_have_value(text)
        expect(person.questions).to_have_count(0)
    person.ask(question)
    person.wait_for_end()
    person.is_unharmed(person.questions, person.answers)
