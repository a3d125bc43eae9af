"""Rewrite the marks of one run of text so that Streamlit's Markdown shows what the model meant.

Every ambiguous mark is rewritten to have one meaning: links and addresses in angle brackets, formulas between dollars,
everything else escaped. So this code and Streamlit's parser skip the same parts. `web/live/inline.js` is the twin for
the live answer. `blocks.py` finds the runs.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

from web.markdown.formulas import can_be_typeset

#: An invisible word joiner. Its `&` and `;` count as punctuation in Markdown.
JOINER = "&#8288;"
#: The same character for code, where `&#8288;` would be shown.
IN_CODE = "\u2060"

_ADDRESS = r"(?:[^\s<>()\[\]`*|\\!]|\([^\s<>()\[\]`*|\\]*\)|!(?!\[))*"
_TOKEN = re.compile(
    r"(?P<formula>\\[(\[])|(?P<colon>\\?:|&(?:#0*58|#[xX]0*3[aA]|colon);)|(?P<escape>\\[^\n])|(?P<ticks>`+)|(?P<stars>\*+)"
    r"|(?P<dollars>\$+)|(?P<symbol>(?<![^ \t\n])(?:<->|->|<-|--|>=|<=|~=)(?![^ \t\n]))|(?P<tildes>~+)"
    rf"|(?P<url>(?<![A-Za-z])[hH][tT][tT][pP][sS]?://{_ADDRESS})|(?P<www>(?<![A-Za-z0-9])[wW]{{3}}\.)"
    r"|(?P<autolink><(?:[hH][tT][tT][pP][sS]?://|[mM][aA][iI][lL][tT][oO]:)[^\s<>|\x00-\x20\x7f]*>)"
    r"|(?P<image>!\[)|(?P<open>\[)|(?P<close>\])|(?P<html><(?=[A-Za-z/!?]))"
)
_NAME = r"(?:[A-Za-z0-9_+-]|\\[_+-]|&#?[A-Za-z0-9]{1,31};)"
_SHORTCODE = re.compile(rf"{_NAME}{{1,80}}(?::|\\:|&(?:#0*58|#[xX]0*3[aA]|colon);)|material/")
_NO_SHORTCODE = re.compile(r"[0-9][0-9]:|[-_]+:")
#: Not allowed in a formula. Streamlit first looks for formulas with a rule of its own, which fails on these.
_NO_TEX = re.compile(r"[$`]|\\\s*$|!\[|\]\(|:[^\s:]*[\[{]|:material/")
_DOLLAR = re.compile(r"\$(?![\s$])([^$\n]+)(?<!\s)\$(?!\$)")
_FORMULA_SIGN = re.compile(r"[\\^_={}]|^[A-Za-z]$")
_RESOURCE = re.compile(
    r"\([ \t]*(?:<(?P<held>(?:https?://|mailto:)[^\s<>\\|]*)>|(?P<bare>(?:https?://|mailto:)(?:[^\s<>()\\|]|\([^\s<>()\\|]*\))*))"
    r"(?:[ \t]+(?:\"[^\"\\`$|]*\"|'[^'\\`$|]*'))?[ \t]*\)",
    re.IGNORECASE,
)
_FOOTNOTE = re.compile(r"\^(?P<number>[0-9]{1,4})\](?P<colon>:?)")
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_SIGN = re.compile(r"([!#$&()*+\-:<=>@\[\\\]_`|~]|(?<=[wW]{3})\.)")
_COLON = re.compile(":(?=[A-Za-z0-9_+-]+:|material/)")
_TRAILING = "?!.,:;*_~'\"&$"


def inline(text: str, *, in_row: bool = False) -> str:
    """Return the run rewritten. `in_row` means that it is a table row, in which each `|` ends a cell."""
    run = _Run(text, in_row=in_row)
    for tick in re.finditer("`+", text):
        run.ticks[len(tick[0])].append(tick.start())
    while token := _TOKEN.search(text, run.at):
        run.out.append(text[run.at : token.start()])
        run.at = token.end()
        run.out.append(_REWRITE[token.lastgroup or ""](run, token))
    run.out.append(text[run.at :])
    return "".join(run.out)


def literal(text: str) -> str:
    """Return Markdown that shows exactly the characters of `text`."""
    escaped = _SIGN.sub(r"\\\1", text)
    return re.sub(r"\\:(?=[A-Za-z0-9_+]|\\[-+_])", "\\:" + JOINER, escaped)


def plain(text: str) -> str:
    """Return `text` as Markdown that shows exactly these characters, on one line, in `st.markdown` and in labels."""
    return literal(" ".join(text.split())).replace("\\-", "-" + JOINER)


@dataclass(slots=True)
class _Run:
    """The state of rewriting one run: the rest of the input, and the output so far."""

    text: str
    in_row: bool = False
    at: int = 0
    brackets: int = 0  # unclosed
    out: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    ticks: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    stars: dict[int, tuple[int, str, str]] = field(default_factory=dict)

    def find(self, mark: str, start: int) -> int:
        """Work like str.find, but remember misses, so that a thousand openings take one search."""
        if mark in self.missing:
            return -1
        found = self.text.find(mark, start)
        if found < 0:
            self.missing.add(mark)
        return found

    def next(self) -> str:
        """Return the next character, or ""."""
        return self.text[self.at : self.at + 1]


def _formula(run: _Run, token: re.Match[str]) -> str:
    close = "\\)" if token[0] == "\\(" else "\\]"
    end = run.find(close, run.at)
    tex = run.text[run.at : end] if end >= 0 else ""
    if not _is_tex(tex):
        return token[0]
    run.at = end + 2
    return _between("$" if close == "\\)" else "$$", tex, run)


def _is_tex(text: str) -> bool:
    return bool(text.strip()) and not _NO_TEX.search(text) and can_be_typeset(text)


def _between(mark: str, tex: str, run: _Run) -> str:
    """Return the formula on one line, between marks. A `$$` left open would turn the rest into a formula."""
    line = tex.replace("\n", " ").strip()
    if run.in_row:
        line = line.replace("\\|", "\\Vert ").replace("|", "\\vert ")
    if "0" <= run.next() <= "9":
        mark = "$$"  # Streamlit reads `$x$5` as money
    return mark + line + mark


def _as_is(_: _Run, token: re.Match[str]) -> str:
    return token[0]


def _ticks(run: _Run, token: re.Match[str]) -> str:
    size = len(token[0])
    same = run.ticks[size]
    after = bisect_right(same, token.start())
    code = run.text[run.at : same[after]] if after < len(same) else ""
    if not code or (run.in_row and "|" in code.replace("\\|", "")):
        return "\\`" * size
    run.at = same[after] + size
    if size > 2:  # at a line's start, Streamlit would search for a formula only after the next such line
        counts = {len(inner) for inner in re.findall("`+", code)}
        size = next(count for count in (1, 2, size) if count not in counts)
    # Keep it on one line: when Streamlit searches for formulas, code ends with its line.
    return "`" * size + without_icons(code.replace("\n", " ")) + "`" * size


def without_icons(code: str) -> str:
    """Hide icon names in code from Streamlit, which would replace the `/`."""
    return code.replace(":material/", f":{IN_CODE}material/")


def _stars(run: _Run, token: re.Match[str]) -> str:
    mark = token[0]
    before = run.text[token.start() - 1] if token.start() else " "
    after = run.next() or " "
    opened = run.stars.get(len(mark))
    if opened and not before.isspace():
        del run.stars[len(mark)]
        index, was_before, was_after = opened
        if _is_punctuation(was_after) and _is_word(was_before):
            run.out[index] = JOINER + mark
        return mark + JOINER if _is_punctuation(before) and _is_word(after) else mark
    if len(mark) <= 3 and not after.isspace():
        run.stars[len(mark)] = (len(run.out), before, after)
    return mark


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def _dollars(run: _Run, token: re.Match[str]) -> str:
    if len(token[0]) == 2:
        end = run.find("$$", run.at)
        tex = run.text[run.at : end] if end >= 0 else ""
        if _is_tex(tex) and run.text[end + 2 : end + 3] != "$":
            run.at = end + 2
            return _between("$$", tex, run)
    elif len(token[0]) == 1 and (found := _DOLLAR.match(run.text, token.start())):
        after = run.text[found.end() : found.end() + 1]
        if not (after and _is_word(after)) and after != "_" and _FORMULA_SIGN.search(found[1]) and _is_tex(found[1]):
            run.at = found.end()
            return _between("$", found[1], run)
    return "\\$" * len(token[0])


def _tildes(_: _Run, token: re.Match[str]) -> str:
    return token[0] if len(token[0]) == 2 else "\\~" * len(token[0])


def _url(run: _Run, token: re.Match[str]) -> str:
    """Rewrite a bare address. Within brackets it may be a link's text, and is not linked itself."""
    address = token[0].rstrip(_TRAILING)
    scheme = address[: address.find("://") + 3]
    if run.brackets or len(address) == len(scheme):
        run.at = token.start() + len(scheme)
        return scheme.replace(":", "\\:")
    run.at = token.start() + len(address)
    return f"<{escaped(address)}>"


def escaped(address: str) -> str:
    """Escape an address so that Streamlit finds no emoji or icon in it; it searches a link's text, too."""
    scheme, _, rest = address.partition(":")
    return f"{scheme}:" + _COLON.sub("%3A", rest if rest.startswith("//") else rest.replace(":", "%3A"))


def _www(_: _Run, token: re.Match[str]) -> str:
    return token[0][:3] + "\\."


def _autolink(_: _Run, token: re.Match[str]) -> str:
    return escaped(token[0])


def _image(run: _Run, token: re.Match[str]) -> str:
    opened = "[" if run.text[token.start() - 1 : token.start()] != "!" else JOINER + "["  # `!![x](…)`
    run.brackets += 1
    if run.next() == "]" and (resource := _RESOURCE.match(run.text, run.at + 1)):
        return opened + literal(resource["held"] or resource["bare"])
    return opened[:-1] + "\\[" if run.next() == "^" else opened


def _open(run: _Run, _: re.Match[str]) -> str:
    if run.next() == "^":
        number = _FOOTNOTE.match(run.text, run.at)
        if not number:
            return "\\["
        run.at = number.end() if run.at == 1 else number.end("number") + 1
        return number["number"].translate(_SUPERSCRIPT)
    run.brackets += 1
    return "["


def _close(run: _Run, _: re.Match[str]) -> str:
    run.brackets = max(0, run.brackets - 1)
    if run.next() == "(":
        resource = _RESOURCE.match(run.text, run.at)
        if not resource:
            return "]\\"
        run.at = resource.end()
        return f"](<{escaped(resource['held'] or resource['bare'])}>)"
    return "]"


def _symbol(_: _Run, token: re.Match[str]) -> str:
    return token[0][0] + JOINER + token[0][1:]


def _html(_: _Run, token: re.Match[str]) -> str:
    return "\\" + token[0]


def _colon(run: _Run, token: re.Match[str]) -> str:
    if _SHORTCODE.match(run.text, run.at) and not _NO_SHORTCODE.match(run.text, run.at):
        return "\\:" + JOINER
    after = run.next()
    is_target = run.text[token.start() - 1 : token.start()] == "]"
    is_footnote = run.text.startswith("[^", run.at)
    is_name = (
        after
        and (after == "\t" or not after.isspace())
        and (after == ":" or after > "\uffff" or not _is_punctuation(after))
    )
    return "\\:" if token[0] == ":" and (is_target or is_footnote or is_name) else token[0]


_REWRITE = {
    "formula": _formula,
    "colon": _colon,
    "escape": _as_is,
    "ticks": _ticks,
    "stars": _stars,
    "dollars": _dollars,
    "symbol": _symbol,
    "tildes": _tildes,
    "url": _url,
    "www": _www,
    "autolink": _autolink,
    "image": _image,
    "open": _open,
    "close": _close,
    "html": _html,
}
