"""The two wire formats as bytes: the events of a stream, and errors. Pure functions.

The events of a reply are encoded before it begins, so that sending a token costs only a write.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from workers.simulator.text import split


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed request."""

    number: int
    model: str
    message: str
    input_tokens: int
    trace: str
    key: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as a vendor reports it."""

    status: int
    type: str
    code: str | None
    text: str


class Wire(ABC):
    """The wire format of one vendor."""

    path: ClassVar[str]
    request_id_header: ClassVar[str]
    overloaded: ClassVar[str]
    #: `named` has errors by a fault's name or status; `types` has the error types of other statuses, 0 for the rest.
    named: ClassVar[dict[str, Failure]]
    types: ClassVar[dict[int, str]]

    @abstractmethod
    def opening(self, call: Call) -> bytes:
        """Return the events before the first token."""

    @abstractmethod
    def around(self, call: Call) -> tuple[bytes, bytes]:
        """Return the bytes of a delta event before and after the JSON string of its token."""

    @abstractmethod
    def finish(self, call: Call, finish: str, *, output_tokens: int, usage: bool) -> bytes:
        """Return the finish mark, with the usage if the request asks for it."""

    @abstractmethod
    def end(self) -> bytes:
        """Return the last event of a complete stream."""

    @abstractmethod
    def keep_alive(self) -> bytes:
        """Return a keep-alive without content."""

    @abstractmethod
    def error_body(self, failure: Failure) -> dict[str, object]:
        """Return the error as a JSON object."""

    @abstractmethod
    def error_event(self, failure: Failure) -> bytes:
        """Return the error as an event within a stream."""

    def lead(self, _call: Call) -> list[bytes]:
        """Return the events before the text that keep its pace, such as thinking."""
        return []

    def deltas(self, call: Call, tokens: Sequence[str]) -> list[bytes]:
        """Return each token as one event."""
        before, after = self.around(call)
        return [before + _string(token) + after for token in tokens]

    def failure(self, name: str, call: Call) -> Failure:
        """Return the error of a fault. It repeats prompt and key, to prove that Naru never shows a provider's words."""
        found = self.named.get(name)
        if found is None:
            status = int(name)
            found = Failure(status, self.types.get(status, self.types[0]), None, f"simulated {status}")
        text = f"{found.text} [prompt: {call.message}] [Incorrect API key provided: {call.key}]"
        return Failure(found.status, found.type, found.code, text)


def _string(text: str) -> bytes:
    """Return the JSON string in UTF-8, with an escape for a lone surrogate, which UTF-8 cannot encode."""
    try:
        return json.dumps(text, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(text).encode()


def event(data: object, name: str | None = None) -> bytes:
    """Return one server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


class OpenAIWire(Wire):
    """Chat Completions."""

    path = "/v1/chat/completions"
    request_id_header = "x-request-id"
    overloaded = "server_overloaded"
    types: ClassVar = {
        401: "invalid_request_error",
        429: "requests",
        0: "invalid_request_error",
    } | dict.fromkeys((500, 502, 503, 504), "server_error")
    named: ClassVar = {
        "quota": Failure(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
        "balance": Failure(402, "billing", None, "Insufficient balance."),
        "context": Failure(
            400,
            "invalid_request_error",
            "context_length_exceeded",
            "This model's maximum context length is 8.",
        ),
        "filter": Failure(400, "invalid_request_error", "content_filter", "The prompt was filtered."),
        "429": Failure(429, "requests", "rate_limit_exceeded", "Rate limit reached."),
        "401": Failure(401, "invalid_request_error", "invalid_api_key", "Incorrect API key."),
        "404": Failure(404, "invalid_request_error", "model_not_found", "The model does not exist."),
    }
    _finishes: ClassVar = {"refusal": "stop", "tool": "tool_calls"}

    def opening(self, call: Call) -> bytes:
        return event(self._chunk(call, {"role": "assistant", "content": ""}))

    def around(self, call: Call) -> tuple[bytes, bytes]:
        before, after = event(self._chunk(call, {"content": "\0"})).split(rb'"\u0000"')
        return before, after

    def finish(self, call: Call, finish: str, *, output_tokens: int, usage: bool) -> bytes:
        refusal = event(self._chunk(call, {"refusal": "I cannot help with that."})) if finish == "refusal" else b""
        last = event(self._chunk(call, {}, self._finishes.get(finish, finish)))
        options = call.body.get("stream_options")
        if not usage or not isinstance(options, dict) or not options.get("include_usage"):
            return refusal + last
        counted = {
            "prompt_tokens": call.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": call.input_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": call.input_tokens // 2},
        }
        return refusal + last + event({**self._chunk(call, {}), "choices": [], "usage": counted})

    def end(self) -> bytes:
        return b"data: [DONE]\n\n"

    def keep_alive(self) -> bytes:
        return b": keep-alive\n\n"

    def error_body(self, failure: Failure) -> dict[str, object]:
        error = {"message": failure.text, "type": failure.type, "param": None, "code": failure.code}
        return {"error": error}

    def error_event(self, failure: Failure) -> bytes:
        return event(self.error_body(failure))

    @staticmethod
    def _chunk(call: Call, delta: dict[str, Any], finish: str | None = None) -> dict[str, object]:
        return {
            "id": f"chatcmpl-sim{call.number:08d}",
            "object": "chat.completion.chunk",
            "created": 1_780_000_000,
            "model": call.model,
            "system_fingerprint": "fp_simulator",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }


class AnthropicWire(Wire):
    """Messages."""

    path = "/v1/messages"
    request_id_header = "request-id"
    overloaded = "overloaded_error"
    types: ClassVar = {
        0: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "api_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
    named: ClassVar = {
        "quota": Failure(402, "billing_error", None, "Your organization has no credits."),
        "balance": Failure(400, "invalid_request_error", None, "Your credit balance is too low to access the API."),
        "context": Failure(400, "invalid_request_error", None, "prompt is too long: 9 tokens > 8 maximum"),
        "filter": Failure(400, "invalid_request_error", None, "Output blocked by content filtering policy"),
    }
    _finishes: ClassVar = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool": "tool_use",
        "content_filter": "refusal",
    }

    #: The number of the block with the text.
    text_index = 0

    def opening(self, call: Call) -> bytes:
        return self.message_start(call) + self.text_start() + self.keep_alive()

    def message_start(self, call: Call) -> bytes:
        """Return the first event of a reply."""
        cached = call.input_tokens // 2
        message: dict[str, object] = {
            "id": f"msg_sim{call.number:08d}",
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": call.input_tokens - cached,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": cached,
                "output_tokens": 1,
            },
        }
        return event({"type": "message_start", "message": message}, "message_start")

    def text_start(self) -> bytes:
        """Return the event that begins the block with the text."""
        block = {"type": "text", "text": ""}
        start = {"type": "content_block_start", "index": self.text_index, "content_block": block}
        return event(start, "content_block_start")

    def around(self, _call: Call) -> tuple[bytes, bytes]:
        text = {"type": "text_delta", "text": "\0"}
        delta = {"type": "content_block_delta", "index": self.text_index, "delta": text}
        before, after = event(delta, "content_block_delta").split(rb'"\u0000"')
        return before, after

    def finish(self, _call: Call, finish: str, *, output_tokens: int, usage: bool) -> bytes:
        delta: dict[str, object] = {
            "type": "message_delta",
            "delta": {"stop_reason": self._finishes.get(finish, finish), "stop_sequence": None},
        }
        if usage:
            delta["usage"] = {"output_tokens": output_tokens}
        stop = event({"type": "content_block_stop", "index": self.text_index}, "content_block_stop")
        return stop + event(delta, "message_delta")

    def end(self) -> bytes:
        return event({"type": "message_stop"}, "message_stop")

    def keep_alive(self) -> bytes:
        return event({"type": "ping"}, "ping")

    def error_body(self, failure: Failure) -> dict[str, object]:
        error = {"type": failure.type, "message": failure.text}
        return {"type": "error", "error": error, "request_id": "req_sim"}

    def error_event(self, failure: Failure) -> bytes:
        return event(self.error_body(failure), "error")


WIRES: tuple[Wire, ...] = (OpenAIWire(), AnthropicWire())


def call_from(body: dict[str, Any], *, number: int, trace: str, key: str) -> Call:
    """Return the call in a request's JSON body. Raises ValueError if it has no messages."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("no messages")
    texts = [_text(message.get("content")) for message in messages]
    system = _text(body.get("system"))
    asked = [text for message, text in zip(messages, texts, strict=True) if message.get("role") == "user"]
    return Call(
        number=number,
        model=str(body.get("model", "")),
        message=asked[-1] if asked else "",
        input_tokens=sum(len(split(text)) for text in (system, *texts)),
        trace=trace,
        key=key,
        body=body,
    )


def _text(content: object) -> str:
    """Return the text of a message, whose content is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
