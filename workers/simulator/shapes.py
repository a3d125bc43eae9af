"""The shapes of real servers' replies, `shape=` in a script: right answers in forms that the vendors do not send."""

from __future__ import annotations

from typing import Any

from workers.simulator.script import Script
from workers.simulator.wire import AnthropicWire, Call, Failure, OpenAIWire, Wire, event

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: The text of each piece of thinking, unless the script has another one.
THOUGHT = "hm "


def shaped(wire: Wire, script: Script) -> Wire:
    """Return the wire format in the shapes of `script`."""
    if not script.shape:
        return wire
    if isinstance(wire, AnthropicWire):
        return _ShapedAnthropic(script)
    return _ShapedOpenAI(script)


class _ShapedOpenAI(OpenAIWire):
    """Chat Completions as compatible servers speak it."""

    def __init__(self, script: Script) -> None:
        self._shape, self._thoughts = script.shape, [script.thought or THOUGHT] * script.thoughts

    def opening(self, call: Call) -> bytes:
        return (_BYTE_ORDER_MARK if "bom" in self._shape else b"") + super().opening(call)

    def lead(self, call: Call) -> list[bytes]:
        if "think" in self._shape:
            pieces = ["<th", "ink>\n", *self._thoughts, "</thi", "nk>\n\n"]
            return [event(self._chunk(call, {"content": piece})) for piece in pieces]
        deltas: list[dict[str, Any]] = []
        for name in ("reasoning_content", "reasoning"):
            deltas += [{name: thought} for thought in self._thoughts if name in self._shape]
        if "thinking" in self._shape:
            parts = [{"type": "thinking", "thinking": [{"type": "text", "text": each}]} for each in self._thoughts]
            deltas += [{"content": [part]} for part in parts]
        return [event(self._chunk(call, delta)) for delta in deltas]

    def around(self, call: Call) -> tuple[bytes, bytes]:
        if "list" not in self._shape:
            return super().around(call)
        delta = {"content": [{"type": "text", "text": "\0"}]}
        before, after = event(self._chunk(call, delta)).split(rb'"\u0000"')
        return before, after

    def finish(self, call: Call, finish: str, *, output_tokens: int, usage: bool) -> bytes:
        whole = super().finish(call, finish, output_tokens=output_tokens, usage=usage)
        if "nofinish" not in self._shape:
            return whole
        # Everything but the event with the finish mark.
        return b"".join(each + b"\n\n" for each in whole.split(b"\n\n") if each and b'"finish_reason":"' not in each)


class _ShapedAnthropic(AnthropicWire):
    """Messages with a block of thinking before the text."""

    def __init__(self, script: Script) -> None:
        self._shape, self._thoughts = script.shape, [script.thought or THOUGHT] * script.thoughts
        self.text_index = 1 if "thinking" in script.shape else 0

    def opening(self, call: Call) -> bytes:
        mark = _BYTE_ORDER_MARK if "bom" in self._shape else b""
        return mark + (self.message_start(call) if self.text_index else super().opening(call))

    def lead(self, _call: Call) -> list[bytes]:
        if not self.text_index:
            return []
        block = {"type": "thinking", "thinking": "", "signature": ""}
        start = {"type": "content_block_start", "index": 0, "content_block": block}
        first, *others = [self._delta({"type": "thinking_delta", "thinking": each}) for each in self._thoughts]
        signature = self._delta({"type": "signature_delta", "signature": "c2ltdWxhdGVk"})
        stop = event({"type": "content_block_stop", "index": 0}, "content_block_stop")
        return [event(start, "content_block_start") + first, *others, signature + stop + self.text_start()]

    @staticmethod
    def _delta(delta: dict[str, str]) -> bytes:
        return event({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")


def whole(wire: Wire, call: Call, text: str, *, output_tokens: int) -> dict[str, Any]:
    """Return a complete answer as one JSON object, which is no stream."""
    if isinstance(wire, AnthropicWire):
        return {
            "id": f"msg_sim{call.number:08d}",
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": call.input_tokens, "output_tokens": output_tokens},
        }
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": call.input_tokens, "completion_tokens": output_tokens}
    return {
        "id": f"chatcmpl-sim{call.number:08d}",
        "object": "chat.completion",
        "created": 1_780_000_000,
        "model": call.model,
        "choices": [choice],
        "usage": usage | {"total_tokens": sum(usage.values())},
    }


def error_in_success(wire: Wire) -> dict[str, object]:
    """Return an error as gateways send it with the status 200."""
    return wire.error_body(Failure(200, wire.overloaded, wire.overloaded, "The server behind the gateway is busy."))
