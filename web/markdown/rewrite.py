"""Rewrite a model's text as Markdown that Streamlit shows as the model meant it, without side effects.

In Streamlit's Markdown, `$5 and $10` would be a formula, `:red[x]` a colour, `:material/home:` an icon, `10~20, 30~40`
struck out, and an image a request to a foreign server. Here these become plain text, TeX in backslashed parentheses
becomes a formula, and Korean emphasis before a particle is closed. Code is unchanged. `web/live/rewrite.js` is the twin
for the live answer; `tests/fuzz/test_twins.py` checks that both agree. `web/views/chat/messages.py` draws the result.
"""

from __future__ import annotations

import re
import textwrap

from web.markdown.blocks import ITEM, Block, Kind, scan
from web.markdown.bounds import LONGEST_PARAGRAPH, MOST_MARKS, marks, without_floods
from web.markdown.inline import inline, literal, without_icons

#: Invisible and meaningless in an answer. Some are white space in Python but not in Markdown.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_DELIMITERS = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")


def to_streamlit(text: str) -> str:
    """Return `text` as Markdown for `st.markdown`. Never raises, and takes linear time."""
    return "\n".join(line for block in scan(_lines(text)) for line in rewritten(block))


def rewritten(block: Block) -> list[str]:
    """Return the block's lines for Streamlit."""
    match block.kind:
        case Kind.CODE:
            return [without_icons(block.contents[0])]
        case Kind.TEXT:
            contents = _text(block)
            return [prefix + content for prefix, content in zip(block.prefixes, contents, strict=False)]
        case _:
            return [prefix + content for prefix, content in zip(block.prefixes, block.contents, strict=True)]


def _lines(text: str) -> list[str]:
    """Return the lines without common indentation and surrounding space, which Streamlit removes too."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = (line if line.strip() else "" for line in without_floods(text).split("\n"))
    return textwrap.dedent("\n".join(lines)).strip().split("\n")


def _text(block: Block) -> list[str]:
    contents = block.contents
    at = next((at for at, content in enumerate(contents) if at and _is_delimiters(content)), 0)
    head = _bounded(contents[at - 1], in_row=True) if at else ""
    if not at or block.has_lazy or head.strip() == "|" or _cells(head) != _cells(contents[at]):
        # Not a table, so its marks are paired across lines; make sure that no parser sees a table.
        lines = ("\\" + content if _is_delimiters(content) else content for content in contents)
        return _bounded("\n".join(lines), in_row=False).split("\n")
    before = _bounded("\n".join(contents[: at - 1]), in_row=False).split("\n") if at > 1 else []
    return [*before, head, contents[at], *(_bounded(_in_table(row), in_row=True) for row in contents[at + 1 :])]


def _cells(row: str) -> int:
    """Count the cells of the row."""
    return re.sub(r"\\[\\|]", "", row).strip(" \t").removeprefix("|").removesuffix("|").count("|") + 1


def _in_table(row: str) -> str:
    """Rewrite a row so that it does not begin a list."""
    item = ITEM.match(row)
    return f"{row[: item.end('mark') - 1]}\\{row[item.end('mark') - 1 :]}" if item else row


def _is_delimiters(content: str) -> bool:
    """Whether this is a table's delimiter row."""
    return ("|" in content or ":" in content) and _DELIMITERS.fullmatch(content) is not None


def _bounded(run: str, *, in_row: bool) -> str:
    is_dense = len(run) > LONGEST_PARAGRAPH or marks(run) > MOST_MARKS
    return literal(run) if is_dense else inline(run, in_row=in_row)
