"""The directive of a request to the simulator, `[[sim: ...]]` in its last user message.

Options are separated by spaces. Values with spaces are quoted: "..." with \\" and \\n and \\u0000. The reply to an
unknown option or value is a 400 that names it. Without a directive the answer is the demo's text at the server's pace.
`--script` gives options that hold for every question; those of a question come after them.

The answer
    tokens=N            exactly N tokens: the text is cut or extended; default: the length of the text
    text="..."          exactly this text
    echo                the message itself, without the directive
    repeat=N            the text N times over
    size=N              N characters in each token; default: up to 5 letters
    pace=X              tokens per second; 0: everything at once
    first=S             seconds to the first token
    emit=clock          every token is `w<n>@<time_ns> `, with the server's clock at the moment of sending
    emit=call           every token is `나<n>@<call> `, with the number of its call: two attempts never look alike
    finish=F            stop | length | content_filter | refusal | tool
    usage=no            no usage
    left=N              headers that say that N requests are left, and more after reset=S seconds
    done=no             a clean end right after the finish mark

A server with quirks, which refuses some calls
    strict=NAME,NAME    400 "unsupported parameter" if the body has one of them (stream_options, temperature, ...)
    quirks=A,B          alternate: no two messages of one role in a row; no_system: no system text; template: the same
                        two, told by a 500 that only speaks of alternation; developer: that role instead of system;
                        new_limit: only max_completion_tokens; old_limit: only max_tokens
    afford=N            402 that names N tokens, unless the call asks for N at most
    most=N              400 that names N tokens, if the call asks for more
    told=stream         such a refusal as an event of a stream with status 200
    down=S              503 for S seconds after the first call, counted by key=NAME (default: by the message)

A right answer in the shape of another server
    shape=A,B           bom: a byte order mark first; list: content as a list of parts; nofinish: no finish mark before
                        [DONE]; json: no stream but one JSON object; error: an error in a JSON object with status 200;
                        reasoning_content, reasoning, think, thinking: thoughts in the field of that name, in <think>
                        tags, or in parts (blocks) of kind thinking. Messages know bom, json, error and thinking.
    thoughts=N          N pieces of thinking at the pace of tokens; default: 3
    thought="..."       the words of each piece

A fault instead: fault=
    300 ... 599         that HTTP status (529 is Anthropic's overloaded_error)
    quota, balance      the vendor's error for "no quota left" and "credit too low"
    context, filter     the vendor's error for "prompt too long" and "refused by the content filter"
    silent              no reply at all
    refuse              connection reset before the reply
    badhead             a reply that is not HTTP
    html                a 200 with an HTML page
    gzip                a body that does not decode
    error               at=N: after N tokens an error event; type=T code=C say="..." (default: "overloaded")
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
QUIRKS = frozenset({"alternate", "no_system", "template", "developer", "new_limit", "old_limit"})
SHAPES = frozenset({"bom", "list", "nofinish", "json", "error", "reasoning_content", "reasoning", "think", "thinking"})
FINISHES = frozenset({"stop", "length", "content_filter", "refusal", "tool"})


class BadScript(ValueError):
    """The directive cannot be understood."""


@dataclass(slots=True)
class Script:
    """The options of one request; see the module's docstring."""

    tokens: int | None = None
    text: str | None = None
    echo: bool = False
    repeat: int = 1
    size: int = 0
    pace: float | None = None
    first: float | None = None
    emit: str = ""
    finish: str = "stop"
    usage: bool = True
    done: bool = True
    left: int | None = None
    reset: float = 1.0
    strict: str = ""
    quirks: frozenset[str] = frozenset()
    afford: int = 0
    most: int = 0
    told: str = ""
    down: float = 0.0
    shape: frozenset[str] = frozenset()
    thoughts: int = 3
    thought: str = ""
    fault: str = ""
    at: int = 0
    type: str = ""
    code: str = ""
    say: str = ""
    retry_after: str = ""
    retry_after_ms: str = ""
    times: int | None = None
    key: str = ""

    @property
    def status(self) -> int | None:
        """The HTTP status of the fault, None if it is not a status."""
        return int(self.fault) if self.fault.isdigit() else None


def read(message: str, always: str = "") -> tuple[Script, str]:
    """Return the script in `message`, and the message without its directive. Raises BadScript.

    `always` has options that come before the message's own.
    """
    script = Script()
    _set_all(script, always.strip())
    found = _DIRECTIVE.search(message)
    if not found:
        return script, message.strip()
    _set_all(script, found[1].strip())
    return script, (message[: found.start()] + message[found.end() :]).strip()


def _set_all(script: Script, inside: str) -> None:
    position = 0
    while position < len(inside):
        option = _OPTION.match(inside, position)
        if not option:
            raise BadScript(f"cannot read {inside[position : position + 40]!r}")
        _set(script, option[1], option[2])
        position = option.end()


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


def _some_of(allowed: frozenset[str]) -> Callable[[str], frozenset[str]]:
    def parse(text: str) -> frozenset[str]:
        if not (named := frozenset(text.split(","))) <= allowed:
            raise ValueError(text)
        return named

    return parse


def _yes(text: str) -> bool:
    return _one_of("yes", "no")(text) == "yes"


_PARSERS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("tokens", "at", "times", "repeat", "size", "afford", "most", "thoughts", "left"), int),
    **dict.fromkeys(("pace", "first", "down", "reset"), float),
    **dict.fromkeys(("echo", "usage", "done"), _yes),
    **dict.fromkeys(("text", "thought", "strict", "type", "code", "say", "retry_after", "retry_after_ms", "key"), str),
    "fault": _fault,
    "quirks": _some_of(QUIRKS),
    "shape": _some_of(SHAPES),
    "finish": _one_of(*sorted(FINISHES)),
    "told": _one_of("stream"),
    "emit": _one_of("clock", "call"),
}
