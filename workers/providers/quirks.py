"""The quirks of a model's server: what it refuses to be sent, and how a request is changed to suit it.

A quirk is a fact about one model, under one of the names below. `lessons.py` learns it from a refusal, `knowledge.py`
keeps it for the whole fleet, `apply` changes a request by it, and `describe` puts it into words. The functions are
pure: a request is the JSON body of a call, a refusal is read elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from workers.providers.windows import RATIO, WINDOW

#: The names of the facts, and their values.
#: True: neighbours of the same role are joined into one message.
ALTERNATES: Final = "roles_alternate"
#: Where the system text goes: DEVELOPER is a message of that role, IN_QUESTION is in front of the first question.
SYSTEM: Final = "system"
DEVELOPER: Final = "developer"
IN_QUESTION: Final = "question"
#: The parameter that limits the answer; LEFT_OUT if the server knows none.
LIMIT_NAME: Final = "limit_name"
LEFT_OUT: Final = ""
#: The longest answer in tokens that the server lets anybody ask for.
LONGEST: Final = "longest_output"
#: The longest answer of this call alone, never stored: what the account can afford, or the room in the window.
THIS_TIME: Final = "output_this_time"
#: Before the name of a parameter that is left out. The value is True.
WITHOUT: Final = "without."

OTHER_LIMIT: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
Facts = Mapping[str, Any]
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """A wire format, as far as the quirks need to know it."""

    #: The parameter that limits the answer where nothing else was learnt.
    limit_name: str
    #: Parameters that are never left out or renamed.
    required: frozenset[str]


def apply(facts: Facts, body: Body, form: Form) -> Body:
    """Return `body` as the facts demand; `body` itself if there are none. The body has the form's own limit name."""
    if not facts:
        return body
    changed = dict(body)
    if facts.get(SYSTEM) == DEVELOPER:
        changed["messages"] = [_as_developer(each) for each in changed["messages"]]
    elif facts.get(SYSTEM) == IN_QUESTION:
        _move_system(changed)
    if facts.get(ALTERNATES) is True:
        changed["messages"] = joined(changed["messages"])
    _limit(facts, changed, form)
    for fact in facts:
        name = fact.removeprefix(WITHOUT)
        if name != fact and name not in form.required:
            changed.pop(name, None)
    return changed


def describe(facts: Facts) -> list[str]:
    """Return one sentence per known quirk, without a full stop, for the terminal."""
    said = []
    if facts.get(ALTERNATES) is True:
        said.append("questions and answers must alternate: neighbours of one role are joined")
    if facts.get(SYSTEM) == IN_QUESTION:
        said.append("no system role: the system prompt goes before the first question")
    elif facts.get(SYSTEM) == DEVELOPER:
        said.append("the system prompt is sent in the role `developer`")
    if facts.get(LIMIT_NAME) == LEFT_OUT:
        said.append("no limit on the answer's length: it is left out")
    elif LIMIT_NAME in facts:
        said.append(f"the answer's limit is called {facts[LIMIT_NAME]}")
    if LONGEST in facts:
        said.append(f"answers have at most {facts[LONGEST]} tokens")
    if WINDOW in facts:
        said.append(f"the window has {facts[WINDOW]} tokens")
    if facts.get(RATIO, 1) > 1:
        said.append(f"the server counts {facts[RATIO]} tokens for each that Naru estimates")
    left_out = sorted(fact.removeprefix(WITHOUT) for fact in facts if fact.startswith(WITHOUT))
    return said + [f"{name} is refused: it is left out" for name in left_out]


def joined(messages: list[Body]) -> list[Body]:
    """Return the messages with neighbours of one role joined, a blank line between their texts."""
    found: list[Body] = []
    for each in messages:
        if found and found[-1]["role"] == each["role"]:
            found[-1] = {**found[-1], "content": _together(found[-1]["content"], each["content"])}
        else:
            found.append(each)
    return found


def system_of(body: Body) -> str:
    """Return the name of the place where `body` has a system text: system, developer or, without one, ""."""
    if body.get("system"):
        return "system"
    roles = (str(each["role"]) for each in body["messages"])
    return next((role for role in roles if role in {"system", "developer"}), "")


def limit_of(body: Body) -> tuple[str, int] | None:
    """Return the parameter that limits the answer, with its value; None if the body has none."""
    return next(((name, body[name]) for name in (*OTHER_LIMIT, "max_output_tokens") if name in body), None)


def _as_developer(message: Body) -> Body:
    return {**message, "role": "developer"} if message["role"] == "system" else message


def _move_system(body: Body) -> None:
    """Move the system text, which is a parameter or a message, to the front of the first question."""
    first = body.pop("system", None)
    messages: list[Body] = []
    for each in body["messages"]:
        if each["role"] == "system":
            first = each["content"] if first is None else _together(first, each["content"])
        elif first is not None and each["role"] == "user":
            messages.append({**each, "content": _together(first, each["content"])})
            first = None
        else:
            messages.append(each)
    if first is not None:
        messages.insert(0, {"role": "user", "content": first})
    body["messages"] = messages


def _together(first: Any, second: Any) -> Any:
    """Join two contents. Each is a text, or a list of parts as some features of the APIs demand."""
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _limit(facts: Facts, body: Body, form: Form) -> None:
    """Lower the limit to what the server allows, and give it the name that the server knows."""
    wanted = (body.pop(form.limit_name, None), facts.get(THIS_TIME))
    lowest = min((each for each in wanted if each), default=None)
    if lowest is None:
        return
    name = form.limit_name if form.limit_name in form.required else facts.get(LIMIT_NAME, form.limit_name)
    if name != LEFT_OUT:
        body[name] = min(lowest, facts.get(LONGEST) or lowest)
