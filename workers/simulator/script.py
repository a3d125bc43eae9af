"""The directive of a request to the simulator, `[[sim: ...]]` in its last user message.

Options are separated by spaces. Values with spaces are quoted: "..." with \\" and \\n and \\u0000. The reply to an
unknown option or value is a 400 that names it. Without a directive the answer is the demo's text at the server's pace.

The answer
    tokens=N            exactly N tokens: the text is cut or extended; default: the length of the text
    text="..."          exactly this text
    echo                the message itself, without the directive
    thought="..."       this reasoning before the text, at the same pace
    thoughts=N          N tokens of reasoning: `thought`, or else a few words, over and over
    style=S             field | tags | parts: where Chat Completions carry it; default: the field reasoning_content
    repeat=N            the text N times over
    size=N              N characters in each token; default: up to 5 letters
    pace=X              tokens per second; 0: everything at once
    first=S             seconds to the first token
    emit=clock          every token is `w<n>@<time_ns> `, with the server's clock at the moment of sending
    emit=call           every token is `나<n>@<call> `, with the number of its call: two attempts never look alike
    finish=F            stop | length | content_filter | refusal | tool
    usage=no            no usage
    done=no             a clean end right after the finish mark
    strict=NAME         400 "unsupported parameter" if the body has NAME (stream_options, max_tokens, ...)

A fault instead: fault=
    300 ... 599         that HTTP status (529 is Anthropic's overloaded_error)
    quota, balance      the vendor's error for "no quota left" and "credit too low"
    context, filter     the vendor's error for "prompt too long" and "refused by the content filter"
    silent              no reply at all
    refuse              connection reset before the reply
    badhead             a reply that is not HTTP
    html                a 200 with an HTML page
    gzip                a body that does not decode
    error               at=N: after N tokens an error event; type=T code=C (default: "overloaded")
    hang                at=N: after N tokens silence forever
    ping                at=N: after N tokens only keep-alives forever
    cut                 at=N: after N tokens a TCP reset
    eof                 at=N: after N tokens the connection closes without HTTP's own end
    end                 at=N: after N tokens a clean end, without the finish mark
    malformed           at=N: after N tokens an event that is not JSON
    tail                silence after the finish mark
    drip                everything in pieces of a few bytes, cut within characters (a correct reader copes)
    with retry_after=2 (seconds), retry_after=date:2 (an HTTP date 2 seconds ahead) or retry_after_ms=1500;
    times=K             only the first K calls have the fault, counted by key=NAME (default: by the message)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_DIRECTIVE = re.compile(r"\[\[sim:(.*?)\]\]", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_OPTION = re.compile(r'\s*(\w+)(?:=("(?:[^"\\]|\\.)*"|\S+))?(?=\s|$)')

#: Faults before any event is sent, and faults within the stream.
FAULTS_BEFORE = frozenset({"quota", "context", "filter", "balance", "silent", "refuse", "badhead", "html", "gzip"})
FAULTS_WITHIN = frozenset({"error", "hang", "ping", "cut", "eof", "end", "malformed", "tail", "drip"})
FINISHES = frozenset({"stop", "length", "content_filter", "refusal", "tool"})


class BadScript(ValueError):
    """The directive cannot be understood."""


@dataclass(slots=True)
class Script:
    """The options of one request; see the module's docstring."""

    tokens: int | None = None
    text: str | None = None
    echo: bool = False
    thought: str = ""
    thoughts: int = 0
    style: str = "field"
    repeat: int = 1
    size: int = 0
    pace: float | None = None
    first: float | None = None
    emit: str = ""
    finish: str = "stop"
    usage: bool = True
    done: bool = True
    strict: str = ""
    fault: str = ""
    at: int = 0
    type: str = ""
    code: str = ""
    retry_after: str = ""
    retry_after_ms: str = ""
    times: int | None = None
    key: str = ""

    @property
    def status(self) -> int | None:
        """The HTTP status of the fault, None if it is not a status."""
        return int(self.fault) if self.fault.isdigit() else None


def read(message: str) -> tuple[Script, str]:
    """Return the script in `message`, and the message without its directive. Raises BadScript."""
    found = _DIRECTIVE.search(message)
    if not found:
        return Script(), message.strip()
    script, inside, position = Script(), found[1].strip(), 0
    while position < len(inside):
        option = _OPTION.match(inside, position)
        if not option:
            raise BadScript(f"cannot read {inside[position : position + 40]!r}")
        _set(script, option[1], option[2])
        position = option.end()
    return script, (message[: found.start()] + message[found.end() :]).strip()


def _set(script: Script, name: str, raw: str | None) -> None:
    parse = _PARSERS.get(name)
    if parse is None:
        raise BadScript(f"no option {name!r}")
    try:
        setattr(script, name, parse(_unquoted(raw or "yes")))
    except ValueError:
        raise BadScript(f"{name}={raw} is not possible") from None


def _unquoted(raw: str) -> str:
    if not raw.startswith('"'):
        return raw
    return _ESCAPE.sub(_escaped, raw[1:-1])


def _escaped(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return "\n" if escape[2] == "n" else escape[2]


def _fault(text: str) -> str:
    if text in FAULTS_BEFORE | FAULTS_WITHIN or (text.isdigit() and 300 <= int(text) <= 599):
        return text
    raise ValueError(text)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return parse


def _yes(text: str) -> bool:
    return _one_of("yes", "no")(text) == "yes"


_PARSERS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("tokens", "at", "times", "repeat", "size", "thoughts"), int),
    **dict.fromkeys(("pace", "first"), float),
    **dict.fromkeys(("echo", "usage", "done"), _yes),
    **dict.fromkeys(("text", "thought", "strict", "type", "code", "retry_after", "retry_after_ms", "key"), str),
    "fault": _fault,
    "finish": _one_of(*sorted(FINISHES)),
    "style": _one_of("field", "tags", "parts"),
    "emit": _one_of("clock", "call"),
}
