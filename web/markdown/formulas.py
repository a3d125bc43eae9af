r"""Decide which formulas are typeset: those whose size is known before KaTeX draws them.

`\rule{9999em}{9999em}` would be 193,630 px high, and macros can hide such a size. A formula over these limits is shown
as its source. `web/live/formulas.js` has the same rule; `.katex` in style.css is a second safeguard.
"""

from __future__ import annotations

import re

#: Characters of one formula, for which KaTeX takes a second or two.
LONGEST = 4000
#: The sum of all explicit lengths, in em. The page's column is 40 em wide.
MOST_EM = 40
#: Rows of matrices and alignments.
MOST_ROWS = 60
#: Nested braces: each nested fraction adds a line's height.
DEEPEST = 12

_EM = {"em": 1, "ex": 0.45, "mu": 0.06, "pt": 0.1, "px": 0.1, "bp": 0.11, "mm": 0.29, "cm": 2.9, "in": 7.3, "pc": 1.2}
_LENGTH = r"[ \t\n]*[-+]?[ \t\n]*([0-9]+\.?[0-9]*|\.[0-9]+)[ \t\n]*([a-z]{2})[ \t\n]*"
_LENGTHS = re.compile(_LENGTH)
_BRACED = r"[ \t\n]*\{" + _LENGTH + r"\}"
_PLAIN = r"[ \t\n]*\{[^{}]*\}"
#: Commands that define others, and KaTeX's own helpers, because they can hide a size.
_MACRO = re.compile(
    r"\\(?:[A-Za-z]*@|(?:[egx]?def|let|futurelet|(?:re)?newcommand|providecommand|global|long|char)(?![A-Za-z]))"
)
_FONT_SIZE = re.compile(
    r"\\(?:tiny|sixptsize|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge)(?![A-Za-z@])"
)
_SIZED = re.compile(
    r"\\(?:(rule|hspace\*?|raisebox|kern|mkern|hskip|mskip|above|genfrac|cr|newline)(?![A-Za-z@])|\\\*?)"
)
_BARE = re.compile(f"(?:{_BRACED}|{_LENGTH})")
_FORMS = {
    "rule": re.compile(rf"(?:[ \t\n]*\[{_LENGTH}\])?{_BRACED}{_BRACED}"),
    "hspace": re.compile(_BRACED),
    "hspace*": re.compile(_BRACED),
    "raisebox": re.compile(_BRACED),
    "genfrac": re.compile(rf"{_PLAIN}{_PLAIN}(?:{_BRACED}|[ \t\n]*\{{\}})"),
    "": re.compile(rf"(?:\[{_LENGTH}\])?(?!\[)"),
}


def can_be_typeset(tex: str) -> bool:
    """Whether the size of `tex` is evident and within the limits."""
    if len(tex) > LONGEST or _MACRO.search(tex) or _depth(tex) > DEEPEST:
        return False
    if len(_FONT_SIZE.findall(tex)) > 1:  # nested sizes multiply
        return False
    em = 0.0
    rows = 0
    for command in _SIZED.finditer(tex):
        name = command[1] or ""
        is_row = name in {"", "cr", "newline"}
        rows += is_row
        form = (_FORMS[""] if is_row else _FORMS.get(name, _BARE)).match(tex, command.end())
        if not form:
            return False
        for length in _LENGTHS.finditer(form[0]):
            if length[2] not in _EM:
                return False
            em += float(length[1]) * _EM[length[2]]
    return em <= MOST_EM and rows <= MOST_ROWS


def _depth(tex: str) -> int:
    deepest = depth = 0
    for sign in re.findall(r"\\.|[{}]", tex):
        depth += (sign == "{") - (sign == "}")
        deepest = max(deepest, depth)
    return deepest
