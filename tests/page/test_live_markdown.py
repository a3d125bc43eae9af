"""The live answer's own Markdown, in Chromium: however the text arrives, the final nodes are the same."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.patience import patient, patient_ms
from web.live.modules import HERE, bundle
from web.markdown import bounds

pytestmark = pytest.mark.browser

ANSWER = """# Title

Some **bold**, *slanted*, `code`, ~~gone~~, [a link](https://example.org/x?a=1&b=2). $5 and $10, 10~20, 30~40.
Also $x^2$ and \\(a+b\\) & &amp; <b onclick=alert(1)>raw</b> :red[x]
second line

- one
- two **b**
  - nested
    - deeper
- three

1. first

   its second paragraph
2. second
   ```py
   x = "**no**"
   ```

| a | b | c |
|---|:-:|--:|
| 1 | **2** | `3` |
| 4 | 5 | |

```python
def f(x):
    \"\"\"**no**\"\"\"

    return x  # $5
```

> quote **x**
> more

$$
\\int_0^1 x^2 dx
$$

![img](https://example.org/x.png) ![](http://example.org/y) [bad](javascript:alert(1)) <img src=x onerror=alert(1)>

**"굵게"**는 그리고 **코드(`x`)**를 `**"안굵게"**는` 끝.

---

<script>alert(1)</script>

Last - line * with 2 * 3 * 4
"""

GROW = """([text, step]) => {
  const root = document.createElement("div");
  const answer = new naru.GrowingAnswer(root);
  for (let i = 0; i < text.length; i += step) { answer.append(text.slice(i, i + step)); answer.paint(); }
  answer.paint({ final: true });
  return root.innerHTML;
}"""
FRAMES = """text => {
  const root = document.createElement("div");
  const answer = new naru.GrowingAnswer(root);
  return Array.from(text, (character) => { answer.append(character); answer.paint(); return root.textContent; });
}"""


@pytest.fixture(scope="module")
def sheet(browser: Browser) -> Iterator[Page]:
    """An empty page with the component's code, without Streamlit."""
    page = browser.new_page()
    page.set_default_timeout(patient_ms(20))
    exports = "const mount = (window.naru = { GrowingAnswer }, function"
    source = bundle().replace("export default function mount", exports).rstrip()
    page.set_content("<p>")
    page.add_script_tag(content=source + ");")
    yield page
    page.close()


@pytest.mark.parametrize("step", [1, 2, 7, 64])
def test_growing_text_renders_like_the_whole_text(sheet: Page, step: int) -> None:
    assert sheet.evaluate(GROW, [ANSWER, step]) == sheet.evaluate(GROW, [ANSWER, 100_000])


def test_live_markdown_renders_exactly_the_supported_markup(sheet: Page) -> None:
    html = sheet.evaluate(GROW, [ANSWER, 100_000])
    for expected in (
        "<h1>Title</h1>",
        "<strong>bold</strong>",
        "<em>slanted</em>",
        "<del>gone</del>",
        '<a href="https://example.org/x?a=1&amp;b=2" target="_blank" rel="noopener noreferrer">a link</a>',
        "$5 and $10, 10~20, 30~40.",
        '<span class="naru-tex">x^2</span>',
        '<span class="naru-tex">a+b</span>',
        "&lt;b onclick=alert(1)&gt;raw&lt;/b&gt; :red[x]",
        "<li>nested<ul><li>deeper</li></ul></li>",
        "<p>its second paragraph</p>",
        '<th style="text-align: center;">b</th>',
        "    return x  # $5</code></pre>",
        "<blockquote><p>quote <strong>x</strong>\nmore</p></blockquote>",
        '<a href="https://example.org/x.png" target="_blank" rel="noopener noreferrer">img</a>',
        "[bad](javascript:alert(1)) &lt;img src=x onerror=alert(1)&gt;",
        '<strong>"굵게"</strong>\u2060는',
        '<code>**"안굵게"**는</code>',
        "&lt;script&gt;alert(1)&lt;/script&gt;",
    ):
        assert expected in html
    for forbidden in ("<img", "<script", "<b ", 'onclick="', 'href="javascript'):
        assert forbidden not in html


def test_half_of_a_mark_is_never_shown(sheet: Page) -> None:
    for text in (
        "a **bold** end",
        "x `code` y",
        "see [here](https://example.org) now",
        "- one\n- two",
        "para\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    ):
        for shown in sheet.evaluate(FRAMES, text):
            assert not any(mark in shown for mark in ("**", "`", "](", "|", "- ")), shown


def test_live_list_never_flashes_as_a_heading(sheet: Page) -> None:
    script = FRAMES.replace("root.textContent", "root.querySelectorAll('h1,h2').length")
    assert set(sheet.evaluate(script, "Here is a list:\n- one\n- two\n\nEnd:\n1. x\n2. y\n")) == {0}


def test_finished_blocks_are_never_touched_again(sheet: Page) -> None:
    changed = sheet.evaluate(
        """([text]) => {
          const root = document.createElement("div");
          const answer = new naru.GrowingAnswer(root);
          answer.append(text); answer.paint();
          const first = Array.from(root.children).slice(0, 5);
          const watch = new MutationObserver(() => {});
          const all = { childList: true, subtree: true, characterData: true, attributes: true };
          first.forEach((node) => watch.observe(node, all));
          for (let i = 0; i < 50; i++) { answer.append(" more and\\n\\nmore"); answer.paint(); }
          return watch.takeRecords().length + first.filter((node, i) => root.children[i] !== node).length;
        }""",
        [ANSWER],
    )
    assert changed == 0


def test_long_answer_stays_within_a_frame(sheet: Page) -> None:
    """A frame usually takes 2 ms. The limit is loose because the machine may be busy."""
    milliseconds = sheet.evaluate(
        """text => {
          const answer = new naru.GrowingAnswer(document.createElement("div"));
          const times = [];
          for (let i = 0; i < text.length; i += 12) {
            answer.append(text.slice(i, i + 12));
            const began = performance.now(); answer.paint(); times.push(performance.now() - began);
          }
          return times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
        }""",
        ANSWER * 40,
    )
    assert milliseconds < patient_ms(0.008)


#: Texts that would take minutes or exhaust the browser's stack without bounds.
PATHOLOGICAL = [
    *(part * 10_000 for part in (">", "> ", "- ", "1. ", "> - ", "- > ", "[", "![", "[a](", "` ", "<", "<a ", "| a ")),
    *(
        part * 10_000
        for part in (
            "*a ",
            "*a **b ",
            "*_",
            "_a ",
            "~~a ",
            "a**b",
            "$x ",
            "\\(",
            "\\[\n",
            "a\n\\[x\\]\n",
            "&",
            "a@",
            "a.",
            "Z" + "\u0301",
        )
    ),
    "*" * 10_000 + "a" + "*" * 10_000,
    "[" * 5000 + "x" + "]" * 5000,
    "Z" + "\u0301" * 100_000,
    "\n".join("  " * level + "- x" for level in range(500)),
    *(
        part * (1_000_000 // len(part))
        for part in ("word ", "x", "- item **x**\n", "| 1 | 2 |\n", "```\nx\n", "**a** b\n\n", "\n")
    ),
    "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 100_000,
]
GROW_BY_FORTY = """text => {
  const root = document.createElement("div");
  document.body.replaceChildren(root);
  const answer = new naru.GrowingAnswer(root);
  for (let at = 0, step = Math.ceil(text.length / 40); at < text.length; at += step) {
    answer.append(text.slice(at, at + step)); answer.paint(); root.offsetHeight;
  }
  answer.paint({ final: true });
  let depth = 0;
  for (let node = root; node; node = node.lastElementChild) depth++;
  return [depth, root.textContent.length, root.querySelectorAll("img,script,svg").length];
}"""


@pytest.mark.parametrize("text", PATHOLOGICAL, ids=lambda text: f"{text[:8]!r}x{len(text)}")
def test_live_markdown_renders_any_text_in_time(sheet: Page, text: str) -> None:
    """A second's work may take ten on a busy machine. A hang takes minutes, or crashes the tab."""
    began = time.monotonic()
    depth, length, forbidden = sheet.evaluate(GROW_BY_FORTY, text)
    assert depth < 4 * bounds.DEEPEST
    assert length <= bounds.MOST
    assert forbidden == 0
    assert time.monotonic() - began < patient(20)


def test_live_markdown_cuts_where_streamlit_does(sheet: Page) -> None:
    for part in ("word ", "| 1 | 2 |\n", "가나 **다**\n"):
        text = part * (1_000_000 // len(part))
        taken = sheet.evaluate(
            "text => { const a = new naru.GrowingAnswer(document.createElement('p')); a.append(text); return a.text; }",
            text,
        )
        assert taken == bounds.beginning(text)
    numbers = dict(re.findall(r"const (\w+) = (\d+);", (HERE / "bounds.js").read_text(encoding="utf-8")))
    assert int(numbers["DEEPEST"]) == bounds.DEEPEST
    assert int(numbers["MOST_MARKS"]) == bounds.MOST_MARKS


def test_flood_of_marks_is_cut_in_any_form(sheet: Page) -> None:
    for step in (1, 3, 50):
        assert sheet.evaluate(GROW, ["Z" + "\u0301" * 200 + "!", step]) == "<p>Z" + "\u0301" * 8 + "!</p>"
