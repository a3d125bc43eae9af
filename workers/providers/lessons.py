"""Learns a server's quirks from the text of its refusal. Pure functions.

The patterns follow the sentences of the vendors and of llama.cpp, vLLM, LM Studio, LiteLLM and OpenRouter. A lesson is
only a guess until a call that follows it succeeds; then it becomes a fact.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from workers.providers.mapping import Evidence
from workers.providers.quirks import (
    ALTERNATES,
    DEVELOPER,
    IN_QUESTION,
    LEFT_OUT,
    LIMIT_NAME,
    LONGEST,
    OTHER_LIMIT,
    SYSTEM,
    THIS_TIME,
    WITHOUT,
    Body,
    Form,
    joined,
    limit_of,
    system_of,
)
from workers.providers.windows import THOUSANDS, WINDOW

#: Statuses of a refusal that can teach something. Chat templates of local servers fail with 500.
TEACHING_STATUSES = frozenset({400, 402, 422, 500, 501})
_TEMPLATE_STATUSES = frozenset({500, 501})


@dataclass(frozen=True, slots=True)
class Lesson:
    """A fact that a refusal suggests. One that does not last is for the repeated call alone."""

    fact: str
    value: Any
    lasts: bool = True


_REFUSED = re.compile(
    r"unsupported|unrecogni[sz]ed|unknown|unexpected|not supported|not support|not permitted|not allowed|not enabled|"
    r"extra|invalid|not valid|deprecated|not available|not implemented|forbidden|cannot find field|cannot be used|"
    r"no such|not understood|must be verified|only supports?|only the default"
)
#: The value is refused, not the parameter: it is left out once, and nothing is kept.
_ONLY_VALUE = re.compile(
    r"supported values are|must be one of|should be one of|input should be|between|\brange\b|greater than|less than|"
    r"at most|at least"
)
_ALTERNATE = re.compile(
    r"roles? (?:must|should|need to|have to)(?: be)? alternat|alternating|must alternate|successive (?:user|assistant)|"
    r"consecutive (?:user|assistant|message)|multiple .{0,3}(?:user|assistant).{0,3} (?:roles|messages) in a row|"
    r"(?:two|2)(?: or more)? (?:user|assistant) (?:messages|turns)|same role in a row"
)
_SYSTEM = re.compile(
    r"(?:system|developer).{0,3} (?:role|message|prompt|instruction)|\brole.{0,90}\b(?:system|developer)\b|"
    r"\b(?:system|developer)\b.{0,3} is not a"
)
_ONLY_TWO_ROLES = re.compile(r"(?:only|should be|must be|one of).{0,4}user.{0,5}(?:and|or|,).{0,5}assistant")
_AFFORDABLE = re.compile(
    r"afford[^0-9]{0,40}(\d+)|(\d+) (?:more |output |completion )?tokens (?:are |is )?(?:left|remaining|available)|"
    r"(?:enough|covers|credit|balance)[^0-9]{0,30}for (?:only )?(\d+)"
)
_LIMIT_WORDS = re.compile(r"max_?(?:completion_|output_|new_)?tokens|(?:output|completion) tokens|maxoutputtokens")
_WINDOW = re.compile(r"context (?:length|size|limit)")
_LONGEST = re.compile(
    r"at most (\d+)|less than or equal to\W{0,3}(\d+)|<=\s*(\d+)|[\[(]\s*[01]\s*,\s*(\d+)\s*[\])]|"
    r"(\d+), which is the max|>\s*(\d+)|max(?:imum)?(?: \w+){0,5}(?: is| of|:)\W{0,3}(\d+)|up to (\d+)|"
    r"between 1 and (\d+)"
)
#: A longer message is recognized by its parts: pieces of this length that begin at every _STEP-th of its characters.
_QUOTE, _STEP = 20, 4
#: A shorter message is too short to be recognized.
_SHORTEST_QUOTE = 5
_ESCAPED_CHARACTER = re.compile(r"\\+u([0-9a-f]{4})")
_SPACES = re.compile(r"(?:\\+[nrt]|\s)+")
#: An answer gets no smaller room than this, in tokens, unless its limit is lower.
_LEAST_ROOM = 1024
#: The window, and the tokens of the prompt, in the two orders in which servers name them.
_ROOM = (
    re.compile(r"context length (?:is|of)\D{0,5}(?P<window>\d+).*?(?:has|contains) (?P<input>\d+) input"),
    re.compile(
        r"context length (?:is|of)\D{0,5}(?P<window>\d+).*?\((?P<input>\d+) (?:in|of) (?:the )?(?:messages|text|input)"
    ),
    re.compile(r"(?P<input>\d+) \+ \d+ > (?P<window>\d+)"),
)
#: Words by which servers name a parameter, where they are not its own name.
_ALSO = {
    "stream_options": ("include_usage",),
    "reasoning_summary": ("reasoning.summary", "reasoning summaries"),
    "reasoning_effort": ("reasoning.effort", "reasoning effort", "thinking"),
    "output_config": ("effort",),
}


def learn(evidence: Evidence, sent: Body, form: Form, tried: Collection[str] = ()) -> tuple[Lesson, ...]:
    """Return the lessons of a refusal; none if it has nothing to do with a quirk.

    `sent` is the refused body, `tried` has the names of the facts that this question has already taught.
    """
    if evidence.status not in TEACHING_STATUSES:
        return ()
    said = THOUSANDS.sub("", _without_quotes(evidence.text, sent))
    if _ALTERNATE.search(said):
        return _alternation(sent)
    if evidence.status in _TEMPLATE_STATUSES:
        return _system(said, sent)
    return _length(evidence, said, sent, tried) or _system(said, sent) or tuple(_parameters(said, sent, form, tried))


def _without_quotes(said: str, sent: Body) -> str:
    """Return a refusal without what it repeats of the texts that were sent: no question must teach a fact.

    A quote may be cut off anywhere, and escaped.
    """
    said = _plain(said)
    for text in map(_plain, _texts_in(sent)):
        if len(text) >= _QUOTE + _STEP:
            said = _without_runs(said, text)
        elif len(text) >= _SHORTEST_QUOTE:
            said = said.replace(text, " ")
    return said


def _texts_in(sent: Body) -> Iterator[str]:
    for content in (sent.get("system") or "", *(each["content"] for each in sent["messages"])):
        if isinstance(content, str):
            yield content
        else:
            yield from (str(part.get("text") or "") for part in content)


def _plain(text: str) -> str:
    """Return a text in lower case, with escapes undone and one space for each run of white space."""
    text = _ESCAPED_CHARACTER.sub(lambda found: chr(int(found[1], 16)), text.lower())
    return _SPACES.sub(" ", text).replace("\\", "").strip()


def _without_runs(said: str, text: str) -> str:
    """Return `said` with spaces for each run of `_QUOTE + _STEP` characters or more that `text` also has."""
    pieces = {said[at : at + _QUOTE] for at in range(len(said) - _QUOTE + 1)}
    shared = pieces.intersection(text[at : at + _QUOTE] for at in range(0, len(text) - _QUOTE + 1, _STEP))
    if not shared:
        return said
    kept = list(said)
    for at in range(len(said) - _QUOTE + 1):
        if said[at : at + _QUOTE] in shared:
            kept[at : at + _QUOTE] = " " * _QUOTE
    return "".join(kept)


def _alternation(sent: Body) -> tuple[Lesson, ...]:
    """Neighbours of one role break the rule. Without any, it is the system message that comes first."""
    if len(joined(sent["messages"])) < len(sent["messages"]):
        return (Lesson(ALTERNATES, value=True),)
    return (Lesson(SYSTEM, IN_QUESTION),) if system_of(sent) else ()


def _system(said: str, sent: Body) -> tuple[Lesson, ...]:
    role = system_of(sent)
    is_about_system = (_SYSTEM.search(said) and _REFUSED.search(said)) or _ONLY_TWO_ROLES.search(said)
    if not role or not is_about_system:
        return ()
    wants_developer = role == "system" and "developer" in said and "system" in said and "messages" in sent
    can_rename = "system" not in sent
    return (Lesson(SYSTEM, DEVELOPER if wants_developer and can_rename else IN_QUESTION),)


def _length(evidence: Evidence, said: str, sent: Body, tried: Collection[str]) -> tuple[Lesson, ...]:
    """Learn how long the answer may be, from a refusal that names the number. Credits are tried once more only."""
    limit = limit_of(sent)
    if THIS_TIME in tried:
        return ()
    affordable = _number(_AFFORDABLE, said)
    if affordable and (evidence.status == 402 or "afford" in said) and (limit is None or affordable < limit[1]):
        return (Lesson(THIS_TIME, affordable, lasts=False),)
    if limit is None:
        return ()
    for pattern in _ROOM:
        if found := pattern.search(said):
            window = int(found["window"])
            room = window - int(found["input"])
            if not min(limit[1], _LEAST_ROOM) <= room < limit[1]:
                return ()  # a shorter prompt is better than an answer that is cut off
            # The window is kept: the next question then asks for an answer that fits.
            return (Lesson(THIS_TIME, room, lasts=False), Lesson(WINDOW, window))
    is_about_limit = _LIMIT_WORDS.search(said) and not _WINDOW.search(said)
    longest = _number(_LONGEST, said) if is_about_limit else None
    return (Lesson(LONGEST, longest),) if longest and longest < limit[1] else ()


def _number(pattern: re.Pattern[str], said: str) -> int | None:
    found = pattern.search(said)
    digits = next(filter(None, found.groups()), "") if found else ""
    return int(digits) if 0 < len(digits) < 10 else None


def _parameters(said: str, sent: Body, form: Form, tried: Collection[str]) -> Iterator[Lesson]:
    """Learn which of the parameters that were sent the server does not take. It may name several at once."""
    is_refused, is_value = _REFUSED.search(said), _ONLY_VALUE.search(said)
    if not (is_refused or is_value):
        return
    for name in sent.keys() - form.required - {"messages", "system"}:
        if not _names(said, name):
            continue
        if name in OTHER_LIMIT:
            # A number that is out of range does not mean that the server has another name for it.
            if is_refused:
                yield Lesson(LIMIT_NAME, LEFT_OUT if LIMIT_NAME in tried else OTHER_LIMIT[name])
        else:
            yield Lesson(f"{WITHOUT}{name}", value=True, lasts=not is_value)


def _names(said: str, parameter: str) -> bool:
    words = (parameter, *_ALSO.get(parameter, ()))
    return any(re.search(rf"(?<![a-z_]){re.escape(word)}(?![a-z_])", said) for word in words)
