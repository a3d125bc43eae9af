"""Model text for Streamlit's Markdown: plain text stays plain, formulas stay formulas, code is never touched."""

from __future__ import annotations

import re
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.patience import patient
from web.markdown import JOINER, plain, to_streamlit
from web.markdown.bounds import DEEPEST, MOST, beginning, without_floods
from web.markdown.formulas import MOST_EM, MOST_ROWS, can_be_typeset
from web.markdown.inline import IN_CODE, without_icons

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
IMAGE = "![x](http://e.example/?secret)"

TEXTS = st.text(
    alphabet=st.sampled_from("ab가나 \n\t`*~$\\()[]{}<>!:|-_#+.1/\"'") | st.characters(exclude_categories=["Cs"]),
    max_size=300,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$5 and $10", r"\$5 and \$10"),
        ("costs $5, or $10", r"costs \$5, or \$10"),
        (r"\(a+b\)", "$a+b$"),
        (r"see \[x^2\] there", "see $$x^2$$ there"),
        ("\\[\nx^2\n\\]", "$$\nx^2\n$$"),
        ("$$\nx\n$$", "$$\nx\n$$"),
        ("$x^2$", "$x^2$"),
        (":red[x]", r"\:red[x]"),
        (":material/home:", rf"\:{JOINER}material/home:"),
        ("at 10:30:45", r"at 10\:30\:45"),
        ("a :---: b", "a :---: b"),
        ("시간:오전", r"시간\:오전"),
        (r"\:smile:", rf"\:{JOINER}smile:"),
        ("&colon;smile&#58;", rf"\:{JOINER}smile&#58;"),
        ("10~20, 30~40", r"10\~20, 30\~40"),
        ("~~gone~~", "~~gone~~"),
        ("![cat](https://e.example/c.png)", "[cat](<https://e.example/c.png>)"),
        ("![](https://e.example/c)", r"[https\://e.example/c](<https://e.example/c>)"),
        ("[x](javascript:alert)", r"[x]\(javascript\:alert)"),
        ("[x](/etc/passwd)", r"[x]\(/etc/passwd)"),
        ("<b>x</b>", r"\<b>x\</b>"),
        ("<https://e.example>", "<https://e.example>"),
        ("at https://e.example/a_(b).", "at <https://e.example/a_(b)>."),
        ('[x](https://e.example "title")', "[x](<https://e.example>)"),
        ("[x](data:text/html,x)", r"[x]\(data\:text/html,x)"),
        ("[x]: data:text/html,x", r"[x]\: data\:text/html,x"),
        ("[x]: https://e.example", "[x]: <https://e.example>"),
        ("사과[^1] 배[^note]", r"사과¹ 배\[^note]"),
        ("a\n[^1]: b", "a\n\n¹ b"),
        ("```mermaid\nx\n```", "```\nx\n```"),
        ("```py title\nx\n```", "```py\nx\n```"),
        ("1 < 2", "1 < 2"),
        ('**"굵게"**는', f'**"굵게"**{JOINER}는'),
        ('그는**"말"**했다', f'그는{JOINER}**"말"**{JOINER}했다'),
        ("**코드(`x`)**를", f"**코드(`x`)**{JOINER}를"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("a -> b", f"a -{JOINER}> b"),
    ],
)
def test_to_streamlit_renders_text(text: str, shown: str) -> None:
    assert to_streamlit(text) == shown


CODE = '$5 :red[x] <b> ![i](http://e.example) **"굵게"**는 \\(x\\) 1~2~3 -> :smile:'


@pytest.mark.parametrize(
    "text",
    [
        f"```\n{CODE}\n```",
        f"```python\n{CODE}\n\n{CODE}",
        f"~~~~\n{CODE}\n```\n~~~~",
        f"- item\n\n  ```\n  {CODE}\n  ```",
        f"1. ```\n   {CODE}\n   ```",
        f"> ```\n> {CODE}\n> ```",
        f"x\n\n    {CODE}\n\n    {CODE}",
        f"`{CODE}`",
        f"``{CODE} ` {CODE}``",
    ],
)
def test_to_streamlit_leaves_code_alone(text: str) -> None:
    """Icon names in code get an invisible mark, which is removed here."""
    assert to_streamlit(text).replace(IN_CODE, "") == text


@pytest.mark.parametrize("before", ["", "$5\n\n", "1. a\n\n   ```sh\n   x\n   ```\n\nThen:\n", "> ```\n> x\n> ```\n\n"])
def test_top_level_fence_stays_verbatim(before: str) -> None:
    assert f"```markdown\n{CODE}\n```" in to_streamlit(f"{before}```markdown\n{CODE}\n```")


def test_text_after_code_is_not_code() -> None:
    assert to_streamlit("```\n$5\n```\n$5") == "```\n$5\n```\n\\$5"
    assert to_streamlit("- ```\n  $5\n$5") == "- ```\n  $5\n\\$5"


def test_code_mark_in_another_line_hides_no_image() -> None:
    assert "![" not in to_streamlit("- a ` b\n- ![x](http://e.example/?secret) ` c")
    assert "![" not in to_streamlit("| a | b |\n|---|---|\n| a ` | ![x](http://e.example/?secret) ` |")


def images(text: str) -> int:
    """Return the number of images that a full CommonMark parser finds in the text for Streamlit."""
    blocks = MARKDOWN.parse(textwrap.dedent(to_streamlit(text)).strip())
    return sum(part.type == "image" for block in blocks for part in block.children or ())


@pytest.mark.parametrize(
    "text",
    [
        IMAGE,
        f"    {IMAGE}",
        f"> > ```\n> {IMAGE}",
        f"1. ```\n  {IMAGE}",
        f"- a\nlazy\n\n    {IMAGE}",
        f"!{IMAGE}",
        f"http://a{IMAGE}",
        f"http://a!{IMAGE}",
        f"<http://a\x01{IMAGE}>",
        f"| a | b |\n|---|---|\n| \\(a | {IMAGE} \\) |",
        f"| a | b |\n|---|---|\n| $$x | {IMAGE} $$ |",
        f"\\(a\n***\n{IMAGE}\\)",
        f"```\n    ```\nx\n```\n{IMAGE}",
        f"    ```\n    x\n {IMAGE}",
        f"text\n2. ~~~\n   {IMAGE}\n   ~~~",
        f"text\n2. ~~~\n   ~~~\n\n```\n{IMAGE}\n```",
        f"> a `\n> `{IMAGE}`",
        f"a `\n2. `{IMAGE}`",
        f"\ufeff```\nx\n```\n{IMAGE}",
        f"![x]\n\n[x]: http://e.example/{IMAGE}",
    ],
)
def test_code_lookalikes_make_no_image(text: str) -> None:
    assert images(text) == 0


PIECES = [
    *(
        IMAGE,
        "![x]",
        "\n[x]: http://e.example\n",
        "a",
        " ",
        "  ",
        "    ",
        "\t",
        "\n",
        "\n\n",
        "`",
        "```",
        "~~~",
        "\n```\n",
    ),
    *("> ", ">", "- ", "1. ", "2. ", "|", "|-|-|\n", "\n***\n", "\n===\n", "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\"),
    *(
        "<",
        "<!--",
        "<script>",
        "http://a",
        "<http://a",
        "](",
        "](http://a",
        ")",
        "[",
        "]",
        "!",
        "#  ",
        "\x01",
        "\x0c",
        "\u2028",
    ),
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
@settings(max_examples=2000, deadline=None)
def test_to_streamlit_makes_no_image(text: str) -> None:
    assert images(text) == 0


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_to_streamlit_never_raises_and_keeps_words(text: str) -> None:
    shown = to_streamlit(text)
    kept = [character for character in text if character.isalnum()]
    rest = iter(shown)
    assert all(character in rest for character in kept)


@given(TEXTS.filter(lambda text: "```" not in text))
@settings(max_examples=200, deadline=None)
def test_to_streamlit_keeps_any_fenced_code(text: str) -> None:
    kept = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]", "", text)
    code = without_icons("\n".join(line if line.strip() else "" for line in without_floods(kept).split("\n")))
    assert f"```text\n{code}\n```" in to_streamlit(f"before $5\n\n```text\n{code}\n```\n\nafter $5")


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_plain_text_is_one_line(text: str) -> None:
    assert "\n" not in plain(text)


@pytest.mark.parametrize(
    "part",
    [
        "$x ",
        "*a ",
        "` ",
        "\\(",
        "![",
        "[](",
        "<a",
        ":a",
        "\\[\n",
        "- ",
        ">",
        "-- ",
        'a**"x"**b',
        "```\n",
        "> ```\n",
        "\u0301",
    ],
)
def test_to_streamlit_takes_linear_time(part: str) -> None:
    """A quadratic step would take minutes for a megabyte. The limit is loose because the machine may be busy."""
    text = (part * (1_000_000 // len(part) + 1))[:1_000_000]
    began = time.process_time()
    to_streamlit(text)
    assert time.process_time() - began < patient(10)


@pytest.mark.parametrize(
    "text",
    [
        *(mark * 10_000 + "x" for mark in ("> ", ">", "- ", "1. ", "> - ", "- > ", "* + ")),
        "\n".join("  " * level + "- x" for level in range(500)),
        "\n".join("\t" * level + "1. x" for level in range(200)),
        "\n".join(" " * level + "- " * 15 + "x" for level in range(0, 300, 30)),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_markdown_depth_is_bounded(text: str) -> None:
    deep = MarkdownIt("commonmark", {"maxNesting": 10_000})
    assert max(block.level for block in deep.parse(to_streamlit(text))) < 8 * DEEPEST


def test_to_streamlit_keeps_rules_as_rules() -> None:
    for ruler in ("- " * 40 + "-", "* " * 40 + "*", "_" * 80):
        assert to_streamlit(f"a\n\n{ruler}\n\nb") == f"a\n\n{ruler}\n\nb"


def test_thousands_of_marks_stay_text() -> None:
    assert to_streamlit("a" + "*" * 5000) == "a" + "\\*" * 5000
    assert to_streamlit("*" * 5000) == "*" * 5000, "a horizontal rule"
    assert to_streamlit("> *a\n" * 2000).endswith("> \\*a")
    table = "| a |\n|---|\n" + "| **a** |\n" * 2000
    assert to_streamlit(table) == table.strip()
    for line in ("- **a**\n", "1. **a**\n", "# **a**\n", "**a**\n\n"):
        assert to_streamlit(line * 2000) == (line * 2000).strip()
    ordered = "\n".join(f"{number}. **a**" for number in range(1, 2000))
    assert to_streamlit(ordered) == ordered


def test_stacked_combining_marks_are_cut() -> None:
    assert to_streamlit("Z" + "\u0301" * 5000 + "!") == "Z" + "\u0301" * 8 + "!"


@pytest.mark.parametrize("part", ["word ", "| 1 | 2 |\n", "- item\n", "*a* ", "\n"])
def test_beginning_cuts_a_megabyte(part: str) -> None:
    text = part * (1_000_000 // len(part))
    shown = beginning(text)
    assert text.startswith(shown)
    assert MOST / 100 < len(shown) <= MOST
    assert beginning(shown) == shown


@pytest.mark.parametrize(
    "tex",
    [
        r"\frac{1}{2}",
        r"x \\[4pt] y \\ [1, 2]",
        r"\hspace{1cm}\kern3pt\rule{1cm}{0.4pt}\raisebox{2pt}{x}",
        r"\genfrac{}{}{0pt}{}{n}{k}",
        r"\Huge x",
        r"\text{9000 mm}",
        "\\\\ ".join("x" * (MOST_ROWS + 1)),
    ],
)
def test_plain_formula_is_typeset(tex: str) -> None:
    assert can_be_typeset(tex)


@pytest.mark.parametrize(
    "tex",
    [
        r"\rule{9999em}{9999em}",
        r"\rule[-9999em]{1em}{1em}",
        "\\rule{9%\n999em}{1em}",
        r"\rule{9\empty9em}{1em}",
        r"\kern9999em",
        r"\kern\a",
        r"\hspace*{9999em}",
        r"\raisebox{9999em}{x}",
        r"a\\[9999em]b",
        r"a\cr[9999em]b",
        r"\genfrac{}{}{9999pt}{}{n}{k}",
        r"\def\a{9}\rule{\a em}{1em}",
        r"\newcommand{\a}{9999em}\rule{\a}{1em}",
        r"\rule{9\@firstoftwo{9}{9}em}{1em}",
        r"\Huge\Huge x",
        r"\raisebox{9em}{" * 5 + "}" * 5,
        r"\kern9em" * (MOST_EM // 9 + 1),
        r"x\\" * (MOST_ROWS + 1),
        r"\frac{1}{" * 20 + "}" * 20,
    ],
)
def test_formula_that_may_be_too_large_is_not_typeset(tex: str) -> None:
    assert not can_be_typeset(tex)
    assert "$" not in to_streamlit(f"\\({tex}\\)").replace("\\$", "")


@pytest.mark.parametrize("blank", ["\x0b", "\x0c", "\x1c", "\x85", "\u2003", "\u3000", "\u2028"])
def test_line_blank_only_to_python_hides_nothing(blank: str) -> None:
    for text in (f"a\n{blank}\n    :color[x]{{background='red'}}", f"- a\n{blank}\n      {IMAGE}"):
        shown = to_streamlit(text)
        assert images(text) == 0
        assert blank not in shown
