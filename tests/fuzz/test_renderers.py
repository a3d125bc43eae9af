"""Ordinary texts in both renderers: same structure, words and heights, so that nothing moves when an answer ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.fuzz.rig import WHOLE, Sheet, sheet
from web.live.modules import katex_address

pytestmark = pytest.mark.browser
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.md"))
PHONE = 390
WIDTHS = (PHONE, 1280)
#: Return the side to which a block's text is aligned; if the text fills the block, the side where it starts.
SIDE = """node => {
  const range = document.createRange();
  range.selectNodeContents(node);
  const [text, box, style] = [range.getBoundingClientRect(), node.getBoundingClientRect(), getComputedStyle(node)];
  const left = text.left - box.left - parseFloat(style.paddingLeft);
  const right = box.right - text.right - parseFloat(style.paddingRight);
  if (Math.abs(left - right) < 1) return /[\\u0590-\\u06ff]/.test(node.textContent) ? "right" : "left";
  return left < right ? "left" : "right";
}"""
CELLS = """() => Array.from(
  document.querySelectorAll("[data-testid=stMarkdownContainer] td, .naru-answer td"), (cell) => cell.offsetHeight)"""
LET_THROUGH = """(node, style) => {
  const bad = document.createElement("span");
  bad.style.cssText = style;
  bad.textContent = "x";
  node.append(bad);
}"""


@pytest.fixture(scope="module", params=WIDTHS, ids=lambda width: f"{width}px")
def both(request: pytest.FixtureRequest, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sheet]:
    """A page with both renderers, at phone and desktop width."""
    viewport = {"width": request.param, "height": 800}
    with sheet(browser, tmp_path_factory.mktemp("sheet"), viewport=viewport) as found:
        yield found


@pytest.mark.parametrize("step", [23, WHOLE], ids=["in pieces", "at once"])
def test_ordinary_text_looks_alike_live_and_ended(both: Sheet, step: int) -> None:
    shown = both.draw([path.read_text(encoding="utf-8") for path in CORPUS], step=step)
    for index, (path, each) in enumerate(zip(CORPUS, shown, strict=True)):
        assert each.live.shape == each.streamlit.shape, path.stem
        streamlit, live = both.tops(index)
        assert live == streamlit, path.stem
        assert each.live.height == pytest.approx(each.streamlit.height, abs=1), path.stem
        assert not each.live.faults
        assert not each.streamlit.faults
    assert both.done() == []


def test_centred_column_is_a_table(both: Sheet) -> None:
    (shown,) = both.draw(["| a | b |\n| :---: | :-: |\n| 1 | 2 |"])
    assert "<td center>1</td><td center>2</td>" in shown.streamlit.shape
    assert shown.live.shape == shown.streamlit.shape


CODE = {
    "python": "def f(x: int) -> str:\n    # why\n    return f\"{x!r}\" + 'a' * 2",
    "js": "const f = async (x) => `${x}` ?? /a/g; // why",
    "bash": 'for each in $(ls); do echo "$each" | grep -v x; done # why',
    "sql": "SELECT a, COUNT(*) FROM b WHERE c = 'd' GROUP BY a;",
    "json": '{"a": [1, true, null, "b"]}',
    "yaml": "a:\n  - b: 1 # why\n    c: 'd'",
    "html": "<p class='a'>b &amp; <!-- c --><script>let a = 1;</script></p>",
    "tsx": "const A = ({ b }: { b: string }) => <p id={b}>c</p>;",
    "rust": 'fn main() { let x: u8 = 1; println!("{}", x); }',
    "diff": "-a\n+b",
    "cpp": "#include <a>\nint main() { return 0; }",
    "nosuch": "a = 1",
    "Python": "a = 1",
}
#: Return the code in runs of the same colour, weight, style and opacity.
COLOURED = """root => {
  const pieces = [];
  const walker = document.createTreeWalker(root.querySelector("code"), NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const { color, fontWeight, fontStyle, opacity } = getComputedStyle(node.parentElement);
    const look = [color, fontWeight, fontStyle, opacity].join(" ");
    if (pieces.at(-1)?.[0] === look) pieces.at(-1)[1] += node.data;
    else pieces.push([look, node.data]);
  }
  return pieces.map((piece) => piece.join(" ").trimEnd());
}"""


def test_live_code_is_coloured_like_ended_code(both: Sheet) -> None:
    texts = [f"```{language}\n{code}\n```" for language, code in CODE.items()]
    both.draw(texts, step=3)
    for index, language in enumerate(CODE):
        ended = both.page.locator(f".st-key-answer-{index}").evaluate(COLOURED)
        live = both.page.locator(f".naru-answer:nth-child({index + 1})").evaluate(COLOURED)
        assert live == ended, language
        assert (len(live) > 1) == (language not in {"nosuch", "Python"}), language


def test_code_that_cannot_be_coloured_is_shown(both: Sheet) -> None:
    long = "x = 1  # why\n" * 2000
    hostile = "#define " * 2000
    both.draw([f"```python\n{long}```", f"```cpp\n{hostile}\n```"])
    live = both.page.locator(".naru-answer code")
    assert live.nth(0).inner_text().strip() == long.strip()
    assert live.nth(0).locator(".token").count() > 100
    assert live.nth(1).inner_text().strip() == hostile.strip()


def test_formula_is_typeset_live(both: Sheet) -> None:
    assert katex_address(), "Streamlit has renamed the file that typesets its formulas: see web/live/modules.py"
    (shown,) = both.draw(["Inline \\(x^2\\).\n\n\\[\n\\frac{1}{2}\n\\]"])
    assert "[tex x^2]" in shown.live.shape
    assert "<display>[tex \\frac{1}{2}]" in shown.live.shape
    assert both.page.locator(".naru-live-sheet .naru-tex").count() == 0


def test_right_to_left_text_starts_at_the_right(both: Sheet) -> None:
    both.draw(["مرحبا بالعالم", "- שלום", "| اسم |\n|---|\n| قيمة |", "Hello"])
    for index, (selector, side) in enumerate([("p", "right"), ("li", "right"), ("td", "right"), ("p", "left")]):
        for root in (
            f".st-key-answer-{index} [data-testid=stMarkdownContainer]",
            f".naru-answer:nth-child({index + 1})",
        ):
            assert both.page.locator(f"{root} {selector}").first.evaluate(SIDE) == side, (root, selector)


def test_word_in_a_cell_is_not_broken(both: Sheet) -> None:
    word = "internationalization"
    both.draw([f"| {word} | b | c |\n|---|---|---|\n| {' | '.join([word] * 3)} |"])
    heights = both.page.evaluate(CELLS)
    assert len(set(heights)) == 1
    assert heights[0] < 45, "the word is on one line"
    assert both.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    "style",
    ["height: 99999px; display: inline-block", "border-top: 99999px solid; display: inline-block", "color: red"],
)
def test_style_sheet_bounds_what_gets_through(both: Sheet, style: str) -> None:
    """The style sheet is the second defence, against a formula that passed the first."""
    both.draw(["$x^2$", "$$\nx\n$$"])
    for root in (".st-key-answer-0", ".st-key-answer-1", ".naru-answer:nth-child(1)", ".naru-answer:nth-child(2)"):
        both.page.locator(f"{root} .katex").evaluate(LET_THROUGH, style)
        box = both.page.locator(root).bounding_box()
        assert box is not None
        assert box["height"] < 13_000
        ink = both.page.locator(root).evaluate("node => getComputedStyle(node).color")
        assert both.page.locator(f"{root} .katex > span").last.evaluate("node => getComputedStyle(node).color") == ink
