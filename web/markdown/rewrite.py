"""Model text -> Markdown that Streamlit shows as the model meant it, and that can do nothing else.

Streamlit's Markdown knows more than a model does: `$5 and $10` would be a formula, `:red[x]` a colour,
`:material/home:` an icon, `10~20, 30~40` struck out, an image a request to a foreign server. Here these are
made plain, `\\(…\\)` becomes a formula, and Korean emphasis beside a particle is closed. Code is left alone, but for
images: what looks like code here may be none to Streamlit, which reads the whole of Markdown. Only a fence that
nothing can hold is code for certain; in all other code `![` gets an invisible mark, and so no text makes an image.
The live twin is `live/markdown.js`: what both show must look the same. Not here: drawing (`views/messages.py`).
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

from web.bounds import MOST_MARKS, marks, shallow, without_floods

#: Invisible, joins words, and its `&` and `;` are punctuation in the eyes of Markdown.
JOINER = "&#8288;"
#: The same in code, where `&#8288;` would be shown.
IN_CODE = "\u2060"

_FENCE = re.compile(r"^(?P<lead>[ \t]*(?:(?:>|[-*+]|\d{1,9}[.)]) {0,4})*)(?P<mark>`{3,}|~{3,})(?P<info>.*)$")
_ITEM = re.compile(r"^[ \t>]*(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_OWN_BLOCK = re.compile(r"^[ \t]*(?:[-*+][ \t]|\d{1,9}[.)][ \t]|#{1,6}[ \t]|>|\|)")
_FRESH = re.compile(r"^[ \t]*(?:\||[-*+][ \t]+\S|1[.)][ \t]+\S|#{1,6}[ \t])")
_RULER = re.compile(r"^[\s|:>=*_-]+$")
_BLOCK_FORMULA = re.compile(r"^(?P<indent>[ \t]*)(?:\$\$|\\\[)")

_TOKEN = re.compile(
    r"(?P<formula>\\[(\[])|(?P<escape>\\.)|(?P<ticks>`+)|(?P<stars>\*+)|(?P<dollars>\$+)|(?P<tildes>~+)"
    r"|(?P<url>https?://(?:(?!!\[)[^\s<>()\[\]`*])+)|(?P<autolink><(?:https?://|mailto:)[^\s<>\x00-\x20\x7f]*>)|(?P<image>!\[)"
    r"|(?P<target>\]\()|(?P<symbol>(?<!\S)(?:<->|->|<-|--|>=|<=|~=)(?!\S))|(?P<html><(?=[A-Za-z/!?]))"
    r"|(?P<shortcode>:(?=[\w+-]+:|material/))|(?P<directive>:(?=[A-Za-z:]))"
)
_DOLLAR = re.compile(r"\$(?![\s$])((?:\\.|[^$\\\n])+)(?<!\s)\$(?![\w$])")
_FORMULA_SIGN = re.compile(r"[\\^_={}]|^[A-Za-z]$")
_SAFE_TARGET = re.compile(r"\]\([ \t]*<?(?:https?://|mailto:)", re.IGNORECASE)
_EMPTY_IMAGE = re.compile(r"!\[\]\([ \t]*<?(?P<url>[^\s<>()]*)")
_NO_FORMULA = re.compile(r"\$\$|!\[|`|^~~~")
_FORMULA_LINES = 40
_LONGEST_RULER = 200
_SIGN = re.compile(r"([!-/:-@\[-`{-~])")
_LIST_MARK = re.compile(r"[-*+]|\d{1,9}[.)]")
_CLOCK = re.compile(r":\d\d:")


def to_streamlit(text: str) -> str:
    """Return `text` as Markdown for `st.markdown`. Never raises; the time it takes grows with the length only."""
    lines = _lines(text)
    out: list[str] = []
    at = 0
    is_list = False
    is_sure = True
    marked = 0  # marks in what may be one paragraph to Streamlit
    while at < len(lines):
        line = lines[at]
        if not line or line.isspace():
            out.append(line)
            at += 1
            marked = 0
            continue
        if fence := _fence(line, is_list=is_list):
            end = _fence_end(lines, at, fence, is_list=is_list)
            is_free = is_sure and fence.lead in {"", " "}
            out.extend(lines[at:end] if is_free else _without_images(lines[at:end]))
            is_sure = is_free or (is_sure and _is_usual(lines, at, end, fence))
        elif not is_list and _is_indented(line) and (at == 0 or not lines[at - 1].strip()):
            end = at + 1
            while end < len(lines) and (_is_indented(lines[end]) or not lines[end].strip()):
                end += 1
            out.extend(_without_images(lines[at:end]))
        elif formula := _block_formula(lines, at):
            out.extend(formula.lines)
            end = formula.end
        else:
            end = _block_end(lines, at, is_list=is_list)
            run = "\n".join(map(shallow, lines[at:end]))
            marked = marks(run) + (0 if _FRESH.match(line) or (is_list and _ITEM.match(line)) else marked)
            out.extend((_inline(run) if marked <= MOST_MARKS else _SIGN.sub(r"\\\1", run)).split("\n"))
        is_list = _is_list_after(lines[at:end], was=is_list)
        at = end
    return "\n".join(out)


def _lines(text: str) -> list[str]:
    """The lines as Streamlit will have them: it takes away common indentation, and Markdown what marks byte order."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").replace("\ufeff", "")
    return textwrap.dedent(without_floods(text)).strip().split("\n")


def _without_images(lines: list[str]) -> list[str]:
    return [line.replace("![", f"!{IN_CODE}[") for line in lines]


def plain(text: str) -> str:
    """Return `text` as Markdown that shows exactly these characters, on one line, in `st.markdown` and in labels."""
    escaped = _SIGN.sub(r"\\\1", " ".join(text.split()))
    return re.sub(r"\\:(?=[\w+-])", "\\:" + JOINER, escaped.replace("\\-", "-" + JOINER))


def _is_indented(line: str) -> bool:
    return line.startswith(("    ", "\t", " \t", "  \t", "   \t")) and bool(line.strip())


def _is_list_after(lines: list[str], *, was: bool) -> bool:
    for line in lines:
        if _ITEM.match(line):
            return True
        if line.strip() and not line[0].isspace():
            was = False
    return was


@dataclass(frozen=True, slots=True)
class _Fence:
    mark: str
    lead: str
    indent: int
    is_quoted: bool


def _fence(line: str, *, is_list: bool) -> _Fence | None:
    found = _FENCE.match(line)
    if not found or (found["mark"][0] == "`" and "`" in found["info"]):
        return None
    lead = found["lead"]
    if not is_list and _is_indented(line) and not lead.strip():
        return None
    return _Fence(
        mark=found["mark"], lead=lead, indent=len(lead) if is_list or lead.strip() else 0, is_quoted=">" in lead
    )


def _fence_end(lines: list[str], start: int, fence: _Fence, *, is_list: bool) -> int:
    """The line after the code: its closing mark, or where the list or quote that holds it ends."""
    held = r"[ \t>]*" if fence.lead.strip(" ") or len(fence.lead) > 1 else " {0,3}"
    closing = re.compile(rf"^{held}{re.escape(fence.mark[0])}{{{len(fence.mark)},}}[ \t]*$")
    for at in range(start + 1, len(lines)):
        line = lines[at]
        if closing.match(line):
            return at + 1
        if fence.is_quoted and not line.lstrip().startswith(">"):
            return at
        is_held = is_list or bool(_ITEM.match(lines[start]))
        if is_held and fence.indent > 1 and line.strip() and not line.startswith(("  ", "\t", " >", ">")):
            return at
    return len(lines)


def _is_usual(lines: list[str], start: int, end: int, fence: _Fence) -> bool:
    """Whether the code of a list or quote ends where it seems to: else nothing after it is code for certain."""
    if "\t" in fence.lead or (re.search(r"\d", fence.lead) and start and lines[start - 1].strip()):
        return False
    lead = _LIST_MARK.sub(lambda mark: " " * len(mark[0]), fence.lead)
    *inside, last = lines[start + 1 : end] or [""]
    if any(line.strip() and not line.startswith(lead) and line.rstrip() != lead.rstrip() for line in inside):
        return False
    return last.startswith(lead + fence.mark) and not last[len(lead) :].strip(" \t" + fence.mark[0])


def _block_end(lines: list[str], start: int, *, is_list: bool) -> int:
    """The line after a run of text whose code spans and emphasis belong together."""
    for at in range(start + 1, len(lines)):
        line = lines[at]
        if not lines[at - 1].strip() or not line.strip() or _OWN_BLOCK.match(line) or _OWN_BLOCK.match(lines[at - 1]):
            return at
        if _fence(line, is_list=is_list) or _BLOCK_FORMULA.match(line):
            return at
    return len(lines)


@dataclass(frozen=True, slots=True)
class _BlockFormula:
    lines: list[str]
    end: int


def _block_formula(lines: list[str], start: int) -> _BlockFormula | None:
    r"""`\[…\]` or `$$…$$` that has its lines for itself."""
    found = _BLOCK_FORMULA.match(lines[start])
    if not found:
        return None
    close = "\\]" if lines[start].lstrip().startswith("\\[") else "$$"
    body: list[str] = []
    rest = lines[start][found.end() :]
    for at in range(start, min(len(lines), start + _FORMULA_LINES)):
        line = rest if at == start else lines[at]
        stop = line.find(close)
        if stop >= 0:
            if line[stop + 2 :].strip():
                return None
            body.append(line[:stop])
            inner = [part.strip() for part in body if part.strip()]
            if not inner or any(_NO_FORMULA.search(part) for part in inner):
                return None
            indent = found["indent"]
            return _BlockFormula([f"{indent}$$", *(indent + part for part in inner), f"{indent}$$"], at + 1)
        if at > start and not line.strip():
            return None
        body.append(line)
    return None


@dataclass(slots=True)
class _Inline:
    """One run of text on its way: what is left of it, and what it has become."""

    text: str
    at: int = 0
    out: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    ticks: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    stars: dict[int, tuple[int, str, str]] = field(default_factory=dict)

    def find(self, mark: str, start: int) -> int:
        """Like str.find, and remembers what is not there: so that a thousand openings do not look a thousand times."""
        if mark in self.missing:
            return -1
        found = self.text.find(mark, start)
        if found < 0:
            self.missing.add(mark)
        return found


def _inline(text: str) -> str:
    run = _Inline(text)
    for tick in re.finditer("`+", text):
        run.ticks[len(tick[0])].append(tick.start())
    while token := _TOKEN.search(text, run.at):
        run.out.append(text[run.at : token.start()])
        run.at = token.end()
        kind = token.lastgroup or ""
        run.out.append(_REWRITE[kind](run, token))
    run.out.append(text[run.at :])
    return "".join(run.out)


def _formula(run: _Inline, token: re.Match[str]) -> str:
    close = "\\)" if token[0] == "\\(" else "\\]"
    end = run.find(close, run.at)
    inner = _one_line(run.text[run.at : end]) if end >= 0 else ""
    if not inner or "$" in inner or "`" in inner or "![" in inner:
        return token[0]
    run.at = end + 2
    return f"${inner}$" if close == "\\)" else f"$${inner}$$"


def _one_line(formula: str) -> str:
    """A line that begins with `$$` and does not end it would make all that follows a formula."""
    return " ".join(formula.split("\n")).strip()


def _as_is(_: _Inline, token: re.Match[str]) -> str:
    return token[0]


def _ticks(run: _Inline, token: re.Match[str]) -> str:
    size = len(token[0])
    same = run.ticks[size]
    after = bisect_right(same, token.start())
    if after == len(same):
        return token[0]
    code = run.text[run.at : same[after]]
    if ("\n" in code or "|" in code) and "![" in code:
        return token[0]  # a table or a list may cut it in two, and then the image would be one
    code = code.replace("![", f"!{IN_CODE}[")
    run.at = same[after] + size
    return token[0] + code + token[0]


def _stars(run: _Inline, token: re.Match[str]) -> str:
    mark = token[0]
    before = run.text[token.start() - 1] if token.start() else " "
    after = run.text[token.end()] if token.end() < len(run.text) else " "
    opened = run.stars.get(len(mark))
    if opened and not before.isspace():
        del run.stars[len(mark)]
        index, was_before, was_after = opened
        if _is_punctuation(was_after) and was_before.isalnum():
            run.out[index] = JOINER + mark
        return mark + JOINER if _is_punctuation(before) and after.isalnum() else mark
    if len(mark) <= 3 and not after.isspace():
        run.stars[len(mark)] = (len(run.out), before, after)
    return mark


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _dollars(run: _Inline, token: re.Match[str]) -> str:
    start = token.start()
    if len(token[0]) == 2:
        end = run.find("$$", run.at)
        inner = _one_line(run.text[run.at : end]) if end >= 0 else ""
        if inner and "$" not in inner and "`" not in inner and "![" not in inner:
            run.at = end + 2
            return f"$${inner}$$"
    elif (
        len(token[0]) == 1
        and (found := _DOLLAR.match(run.text, start))
        and _FORMULA_SIGN.search(found[1])
        and "![" not in found[0]
    ):
        run.at = found.end()
        return found[0]
    return "\\$" * len(token[0])


def _tildes(_: _Inline, token: re.Match[str]) -> str:
    return token[0] if len(token[0]) == 2 else "\\~" * len(token[0])


def _url(_: _Inline, token: re.Match[str]) -> str:
    return token[0].replace("$", "%24").replace("~", "%7E")


def _image(run: _Inline, token: re.Match[str]) -> str:
    opened = "[" if run.text[token.start() - 1 : token.start()] != "!" else JOINER + "["  # `!![x](…)`
    if empty := _EMPTY_IMAGE.match(run.text, token.start()):
        run.at = token.start() + 2  # what follows is the target, which is looked at for itself
        return opened + re.sub(r"([\\`*_~$:<\[\]])", r"\\\1", empty["url"] or "…")
    return opened


def _target(run: _Inline, token: re.Match[str]) -> str:
    return token[0] if _SAFE_TARGET.match(run.text, token.start()) else "]\\("


def _symbol(run: _Inline, token: re.Match[str]) -> str:
    before = run.text[max(0, token.start() - _LONGEST_RULER) : token.start()]
    if ("\n" in before or token.start() < _LONGEST_RULER) and _RULER.match(before[before.rfind("\n") + 1 :] + "-"):
        return token[0]  # a ruler, a table's second row, a quote: not the sign that Streamlit would draw
    return token[0][0] + JOINER + token[0][1:]


def _html(_: _Inline, token: re.Match[str]) -> str:
    return "\\" + token[0]


def _shortcode(run: _Inline, token: re.Match[str]) -> str:
    return token[0] if _CLOCK.match(run.text, token.start()) else "\\:" + JOINER


_REWRITE = {
    "formula": _formula,
    "escape": _as_is,
    "ticks": _ticks,
    "stars": _stars,
    "dollars": _dollars,
    "tildes": _tildes,
    "url": _url,
    "autolink": _as_is,
    "image": _image,
    "target": _target,
    "symbol": _symbol,
    "html": _html,
    "shortcode": _shortcode,
    "directive": _html,
}
