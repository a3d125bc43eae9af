"""The refusals of servers with quirks, `quirks=` in a script: what they do not accept, in the words of such servers."""

from __future__ import annotations

from itertools import pairwise

from workers.simulator.script import Script
from workers.simulator.wire import Call, Failure, Wire

_LIMITS = ("max_tokens", "max_completion_tokens")
_ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
_PARAMETERS = {
    "new_limit": ("max_tokens", "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
    "old_limit": ("max_completion_tokens", "Unrecognized request argument supplied: max_completion_tokens"),
}


def refusal(wire: Wire, call: Call, script: Script) -> Failure | None:
    """Return the error for the first thing that a server with the quirks of `script` does not accept; None for none."""
    bad = wire.types[0]
    if name := next((each for each in filter(None, script.strict.split(",")) if each in call.body), None):
        return Failure(400, bad, "unsupported_parameter", f"Unsupported parameter: {name!r}")
    for quirk, (name, text) in _PARAMETERS.items():
        if quirk in script.quirks and name in call.body:
            return Failure(400, bad, "unsupported_parameter", f"Unsupported parameter: {text}")
    return _about_roles(bad, call, script.quirks) or _about_length(bad, call, script)


def _about_roles(kind: str, call: Call, quirks: frozenset[str]) -> Failure | None:
    roles = [str(message.get("role")) for message in call.body["messages"]]
    has_system = "system" in roles or bool(call.body.get("system"))
    are_neighbours_equal = any(one == other for one, other in pairwise(roles))
    if "developer" in quirks and "system" in roles:
        text = "Unsupported value: 'messages[0].role' does not support 'system' with this model. Use 'developer'."
        return Failure(400, kind, "unsupported_value", text)
    if "no_system" in quirks and (has_system or "developer" in roles):
        return Failure(400, kind, None, "System role not supported")
    if "alternate" in quirks and are_neighbours_equal:
        return Failure(400, kind, None, _ALTERNATE)
    if "template" in quirks and (has_system or are_neighbours_equal):
        return Failure(500, "server_error", None, f"Jinja Exception: {_ALTERNATE}")
    return None


def _about_length(kind: str, call: Call, script: Script) -> Failure | None:
    asked = next((int(call.body[name]) for name in _LIMITS if name in call.body), None)
    if script.afford and (asked is None or asked > script.afford):
        text = f"More credits are required. You asked for up to {asked or 65536} tokens, but can only afford "
        return Failure(402, kind, None, f"{text}{script.afford}.")
    if script.most and asked is not None and asked > script.most:
        text = f"max_tokens: {asked} > {script.most}, which is the maximum allowed number of output tokens"
        return Failure(400, kind, None, text)
    return None
