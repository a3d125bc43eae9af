"""Model text for Streamlit's Markdown: what must be plain is plain, formulas are formulas, code is never touched."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web.markdown import JOINER, plain, to_streamlit

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
        ("at 10:30:45", "at 10:30:45"),
        ("10~20, 30~40", r"10\~20, 30\~40"),
        ("~~gone~~", "~~gone~~"),
        ("![cat](https://e.example/c.png)", "[cat](https://e.example/c.png)"),
        ("![](https://e.example/c)", r"[https\://e.example/c](https://e.example/c)"),
        ("[x](javascript:alert)", r"[x]\(javascript\:alert)"),
        ("[x](/etc/passwd)", r"[x]\(/etc/passwd)"),
        ("<b>x</b>", r"\<b>x\</b>"),
        ("<https://e.example>", "<https://e.example>"),
        ("1 < 2", "1 < 2"),
        ('**"굵게"**는', f'**"굵게"**{JOINER}는'),
        ('그는**"말"**했다', f'그는{JOINER}**"말"**{JOINER}했다'),
        ("**코드(`x`)**를", f"**코드(`x`)**{JOINER}를"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("a -> b", f"a -{JOINER}> b"),
    ],
)
def test_text(text: str, shown: str) -> None:
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
        f"    {CODE}\n\n    {CODE}",
        f"`{CODE}`",
        f"``{CODE} ` {CODE}``",
    ],
)
def test_code_is_left_alone(text: str) -> None:
    assert to_streamlit(text) == text


def test_text_after_code_is_not_code() -> None:
    assert to_streamlit("```\n$5\n```\n$5") == "```\n$5\n```\n\\$5"
    assert to_streamlit("- ```\n  $5\n$5") == "- ```\n  $5\n\\$5"


def test_an_image_is_never_hidden_by_a_code_mark_in_another_line() -> None:
    assert "![" not in to_streamlit("- a ` b\n- ![x](http://e.example/?secret) ` c")
    assert "![" not in to_streamlit("| a ` | ![x](http://e.example/?secret) ` |")


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_it_never_raises_and_keeps_the_words(text: str) -> None:
    shown = to_streamlit(text)
    kept = [character for character in text if character.isalnum()]
    rest = iter(shown)
    assert all(character in rest for character in kept)


@given(TEXTS.filter(lambda text: "```" not in text))
@settings(max_examples=200, deadline=None)
def test_fenced_code_is_untouched_whatever_it_is(text: str) -> None:
    code = text.replace("\r", "").replace("\x00", "")
    assert f"```text\n{code}\n```" in to_streamlit(f"before $5\n\n```text\n{code}\n```\n\nafter $5")


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_plain_text_is_one_line(text: str) -> None:
    assert "\n" not in plain(text)


@pytest.mark.parametrize(
    "part", ["$x ", "*a ", "` ", "\\(", "![", "[](", "<a", ":a", "\\[\n", "- ", ">", "-- ", 'a**"x"**b', "```\n"]
)
def test_time_grows_with_the_length_only(part: str) -> None:
    """A quadratic step would take minutes for a megabyte; the bound is loose, the machine may be busy."""
    text = (part * (1_000_000 // len(part) + 1))[:1_000_000]
    began = time.process_time()
    to_streamlit(text)
    assert time.process_time() - began < 20
