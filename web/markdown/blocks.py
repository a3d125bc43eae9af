"""Split Markdown into blocks: code, formulas, and runs of text whose marks belong together.

The scanner follows CommonMark's rules for quotes, lists, fences and indented code. A doubtful line counts as text,
which at worst shows a surplus escape, but never as code, which is passed on unchanged. `web/live/blocks.js` is its twin
for the live answer. `inline.py` interprets the marks of a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from web.markdown.bounds import shallow
from web.markdown.formulas import can_be_typeset
from web.markdown.inline import escaped


class Kind(StrEnum):
    """How a block is rewritten."""

    BLANK = "blank"
    CODE = "code"
    FORMULA = "formula"
    TEXT = "text"
    AS_IS = "as is"


@dataclass(slots=True)
class Block:
    """Adjacent lines of one kind, split into prefixes (`> `, `- `, spaces) and contents."""

    kind: Kind
    start: int
    prefixes: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    has_lazy: bool = False  # a line lacks the containers of the others (CommonMark's lazy continuation)


_QUOTE = 0
_FENCE = re.compile(r"(?P<mark>`{3,}|~{3,})(?P<info>.*)", re.DOTALL)
_CLOSING_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*")
ITEM = re.compile(r"(?P<mark>[-*+]|(?P<number>[0-9]{1,9})[.)])(?P<space> +|$)")
_RULE = re.compile(r"([-*_])(?:[ \t]*\1){2,}[ \t]*")
#: The underline of a heading. Ambiguous ones are escaped.
_UNDERLINE = re.compile(r"(?:=+|--?)[ \t]*")
_HEADING = re.compile(r"#{1,6}(?:[ \t]|$)")
_BLOCK_FORMULA = re.compile(r"\$\$|\\\[")
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]{1,50}\]:")
#: A link reference definition on one line. Any other form is text, so that no target goes unchecked.
_DEFINITION = re.compile(
    r"\[(?P<label>[^\[\]\\`$^|:<&*_~]{1,100})\]:[ \t]*"
    r"<?(?P<target>(?:https?://|mailto:)[^\s<>\\|]+?)>?(?:[ \t]+\"[^\"\\]*\")?[ \t]*",
    re.IGNORECASE,
)
#: The part of a line in which a tab advances to the next tab stop.
_LEAD = re.compile(r"(?:[ \t]*(?:>|[-*+](?=[ \t])|[0-9]{1,9}[.)](?=[ \t])))*[ \t]*")
_LANGUAGE = re.compile(r"[ \t]*([A-Za-z0-9_+#.-]{0,30})")
_PICTURE = re.compile("mermaid(?![A-Za-z0-9_])", re.IGNORECASE)
_FORMULA_LINES = 40
_NO_FORMULA = re.compile(r"\$\$|`|^~~~|!\[|\]\(|:[^\s:]*[\[{]|:material/")


def scan(lines: list[str]) -> Iterator[Block]:
    """Yield the blocks of `lines`, in order; each line belongs to one block."""
    scanner = _Scanner(lines)
    while scanner.at < len(lines):
        yield from scanner.step()
    yield from scanner.flush()


def expanded(line: str) -> str:
    """Return `line` with the tabs before its content expanded."""
    lead = _LEAD.match(line)
    end = lead.end() if lead else 0
    return line[:end].expandtabs(4) + line[end:] if "\t" in line[:end] else line


def _language(info: str) -> str:
    """Return a fence's language, without `mermaid`: Streamlit would draw a picture with any size and colours."""
    found = _LANGUAGE.match(info)
    language = found[1] if found else ""
    return "" if _PICTURE.match(language) else language


def _indent(line: str, at: int) -> int:
    return len(line) - at - len(line[at:].lstrip(" "))


def _goes_on(item: re.Match[str], rest: str) -> bool:
    """Whether a paragraph continues at this list item. Only a list with content that starts at 1 interrupts it."""
    return item.end() == len(rest) or bool(item["number"] and int(item["number"]) != 1)


class _Scanner:
    """Scans the lines once, and tracks the containers of the current line."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0
        self.stack: list[int] = []  # outermost first: a quote, or an item as its content's indentation
        self.fence = ""
        self.is_bare = False  # the innermost item has no content yet
        self.was_indented = False  # the last non-blank line was indented code; lists begin after it as in a paragraph
        self.run: Block | None = None  # the open paragraph

    def flush(self) -> Iterator[Block]:
        """End the open paragraph."""
        if self.run and self.run.contents:
            yield self.run
        self.run = None

    def step(self) -> Iterator[Block]:
        """Scan one line, or the lines of one formula."""
        raw = self.lines[self.at]
        if self.fence:
            line = expanded(raw) if self.stack else raw
            pos, held = self._held(line)
            if held == len(self.stack):
                closing = _CLOSING_FENCE.fullmatch(line, pos)
                if closing and closing[1].startswith(self.fence):
                    self.fence = ""
                yield self._one(Kind.CODE, line, 0)
                return
            self.fence = ""
        line = shallow(expanded(raw))
        pos, held = self._held(line)
        is_held = held == len(self.stack)
        pos, is_new = self._open(line, pos, held)
        indent = _indent(line, pos)
        if pos + indent == len(line):
            yield from self._blank(line, held, is_new=is_new)
            return
        if is_new or not self.run:
            yield from self.flush()
            self.stack = self.stack if is_new else self.stack[:held]
            is_held = True
        self.is_bare = False
        yield from self._leaf(line, pos, indent, held, is_held=is_held)

    def _held(self, line: str) -> tuple[int, int]:
        """Return where the content begins after the containers that continue in this line, and their number."""
        pos = 0
        for count, width in enumerate(self.stack):
            indent = _indent(line, pos)
            is_blank = pos + indent == len(line)
            if width == _QUOTE:
                if is_blank or indent > 3 or line[pos + indent] != ">":
                    return pos, count
                pos += indent + 1 + (line[pos + indent + 1 : pos + indent + 2] == " ")
            elif is_blank:
                if self.is_bare and count == len(self.stack) - 1:
                    return pos, count
            elif indent >= width:
                pos += width
            else:
                return pos, count
        return pos, len(self.stack)

    def _open(self, line: str, pos: int, held: int) -> tuple[int, bool]:
        """Open the quotes and list items that begin in this line."""
        is_new = False
        is_paragraph = (self.run is not None or self.was_indented) and held == len(self.stack)
        while pos < len(line):
            indent = _indent(line, pos)
            rest = line[pos + indent :]
            item = ITEM.match(rest)
            if indent > 3:
                break
            if rest.startswith(">"):
                width = _QUOTE
                step = indent + 1 + rest.startswith("> ")
            elif item and not _RULE.fullmatch(rest) and not (is_paragraph and _goes_on(item, rest)):
                self.is_bare = item.end() == len(rest)
                space = 1 if self.is_bare or len(item["space"]) > 4 else len(item["space"])
                width = indent + len(item["mark"]) + space
                step = min(width, len(line) - pos)
            else:
                break
            if not is_new:
                self.stack = self.stack[:held]
                is_new = True
            self.stack.append(width)
            pos += step
        return pos, is_new

    def _blank(self, line: str, held: int, *, is_new: bool) -> Iterator[Block]:
        yield from self.flush()
        if not is_new:
            self.stack = self.stack[:held]
            self.is_bare = False
        yield self._one(Kind.BLANK, line, 0)

    def _leaf(self, line: str, pos: int, indent: int, held: int, *, is_held: bool) -> Iterator[Block]:
        """Begin a block with this line's content, or continue the open paragraph."""
        start = pos + indent
        content = line[start:]
        fence = _FENCE.fullmatch(content)
        self.was_indented = indent > 3 and not self.run
        if indent > 3:
            if not self.run:
                yield self._one(Kind.CODE, line, 0)
                return
        elif fence and not (fence["mark"][0] == "`" and "`" in fence["info"]):
            yield from self._interrupt(held)
            self.fence = fence["mark"]
            yield self._one(Kind.CODE, line[:start] + fence["mark"] + _language(fence["info"]), 0)
            return
        elif _RULE.fullmatch(content):
            yield from self._interrupt(held)
            yield self._one(Kind.AS_IS, line, start)
            return
        elif _HEADING.match(content):
            yield from self._interrupt(held)
            yield self._one(Kind.TEXT, line, start)
            return
        elif _BLOCK_FORMULA.match(content) and is_held and (formula := self._formula(line, start)):
            yield from self.flush()
            yield formula
            return
        # Remove the indentation, so that a paragraph's line can never become code.
        yield from self._paragraph(
            line[:pos] + content if self.run else line, pos if self.run else start, is_held=is_held
        )

    def _interrupt(self, held: int) -> Iterator[Block]:
        """End the open paragraph, and the containers that do not continue in this line."""
        if self.run:
            self.stack = self.stack[:held]
            yield from self.flush()

    def _paragraph(self, line: str, start: int, *, is_held: bool) -> Iterator[Block]:
        content = line[start:]
        if self.run and self.run.contents and _UNDERLINE.fullmatch(content):
            if content[0] == "=" and len(self.run.contents) == 1 and is_held:
                self.run.contents[0] = "# " + self.run.contents[0]
                self.at += 1
                yield from self.flush()
                return
            content = "\\" + content
            line = line[:start] + content
        definition = _DEFINITION.fullmatch(content)
        if definition or _FOOTNOTE.match(content):
            had_run = self.run is not None
            yield from self.flush()
            if had_run and not self.stack and not definition:
                yield Block(Kind.BLANK, self.at, [""], [""])
        if definition:
            block = self._one(Kind.AS_IS, line, start)
            block.contents = [f"[{definition['label']}]: <{escaped(definition['target'])}>"]
            # Markdown may read it as part of a paragraph, which then continues, so the next line is not code.
            self.run = Block(Kind.TEXT, self.at)
            yield block
            return
        if self.run is None:
            self.run = Block(Kind.TEXT, self.at)
        if not self.run.contents:
            self.run.start = self.at
        self.run.has_lazy |= not is_held
        self.run.prefixes.append(line[:start])
        self.run.contents.append(content)
        self.at += 1

    def _one(self, kind: Kind, line: str, start: int) -> Block:
        block = Block(kind, self.at, [line[:start]], [line[start:]])
        self.at += 1
        return block

    def _formula(self, first: str, start: int) -> Block | None:
        r"""Scan a formula on lines of its own, `\[…\]` or `$$…$$`. Return None if there is none."""
        close = "\\]" if first.startswith("\\[", start) else "$$"
        body: list[str] = []
        end = min(len(self.lines), self.at + _FORMULA_LINES)
        if not any(close in line for line in self.lines[self.at : end]):
            return None
        for at in range(self.at, end):
            content = first[start + 2 :]
            if at > self.at:
                line = shallow(expanded(self.lines[at]))
                pos, held = self._held(line)
                content = line[pos:].strip(" \t")
                if held < len(self.stack) or not content:
                    return None
            stop = content.find(close)
            if stop >= 0 and content[stop + 2 :].strip(" \t"):
                return None
            body.append((content if stop < 0 else content[:stop]).strip(" \t"))
            if stop >= 0:
                return self._typeset(first[:start], [part for part in body if part], at + 1)
        return None

    def _typeset(self, prefix: str, body: list[str], end: int) -> Block | None:
        tex = "\n".join(body)
        if not tex or any(map(_NO_FORMULA.search, body)) or not can_be_typeset(tex):
            return None
        rest = re.sub(r"[^>]", " ", prefix)
        lines = ["$$", *body, "$$"]
        block = Block(Kind.FORMULA, self.at, [prefix, *[rest] * (len(lines) - 1)], lines)
        self.at = end
        return block
