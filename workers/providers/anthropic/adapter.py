"""The adapter for Messages, the wire format of Anthropic and compatible servers.

Events: message_start (usage of the prompt) … content_block_delta (text) … message_delta (stop reason, usage
so far) and message_stop. Thinking is never sent back, so its signatures are ignored. Naru does not use citations and
tools, and ignores their events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from shared.vendors import ANTHROPIC
from workers.providers import adapting
from workers.providers.adapting import Taught
from workers.providers.anthropic import caching
from workers.providers.base import Finish, Prompt, Usage
from workers.providers.catalogue import CLAUDE_OUTPUT_TOKENS, size_of
from workers.providers.knowledge import Known
from workers.providers.quirks import Body, Form
from workers.providers.sdk.decoding import ErrorEvent, EventReader, is_error
from workers.providers.sdk.provider import SdkProvider
from workers.providers.sdk.reasoning import sorted_parts
from workers.providers.windows import output_limit

# Only for types: importing the SDK takes most of a second and 69 MB, which only a worker with this provider pays.
if TYPE_CHECKING:
    import anthropic
    import httpx2

OFFICIAL_BASE_URL = ANTHROPIC.default_address
#: Messages calls have to name the longest answer.
_FORM = Form("max_tokens", frozenset({"model", "messages", "max_tokens", "stream"}))
#: The API refuses a higher temperature. People may set up to 2, which other vendors accept.
WARMEST = 1.0

_FINISHES = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "refusal": Finish.REFUSAL,
}


class AnthropicProvider(SdkProvider["anthropic.AsyncAnthropic"]):
    """Any server that speaks Messages."""

    def __init__(
        self,
        name: str = "anthropic",
        *,
        api_key: str,
        base_url: str = OFFICIAL_BASE_URL,
        ca_file: str = "",
        known: Known | None = None,
    ) -> None:
        super().__init__(name, api_key=api_key, base_url=base_url or OFFICIAL_BASE_URL, ca_file=ca_file, known=known)

    def _open(self) -> anthropic.AsyncAnthropic:
        import anthropic

        return anthropic.AsyncAnthropic(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            http_client=anthropic.DefaultAioHttpClient(**self._transport()),
        )

    async def _call(self, client: anthropic.AsyncAnthropic, prompt: Prompt, taught: Taught) -> httpx2.Response:
        import anthropic
        import httpx2

        async def post(body: Body) -> httpx2.Response:
            reply: object = await client.post(
                "/v1/messages",
                cast_to=httpx2.Response,
                body=caching.placed(body),
                options={"headers": {"X-Client-Request-Id": prompt.trace_id}} if prompt.trace_id else {},
                stream=True,
                stream_cls=anthropic.AsyncStream[object],
            )
            # With this `cast_to` the SDK returns the reply itself, although its types say a stream.
            return cast("httpx2.Response", reply)

        return await adapting.call(post, _body(prompt), _FORM, self._known, taught)

    def learn(self, error: Exception, prompt: Prompt, taught: Taught) -> bool:
        """See `SdkProvider.learn`."""
        return adapting.learn_within(error, _body(prompt), _FORM, self._known, taught)

    def reader(self) -> EventReader:
        return _MessagesReader()


def _body(prompt: Prompt) -> Body:
    """Return the body for a server without quirks."""
    body: Body = {
        "model": prompt.model,
        # The API refuses a message without text, and asks for a limit where Chat Completions does not.
        "messages": [{"role": each.role, "content": each.text} for each in prompt.messages if each.text.strip()],
        "max_tokens": prompt.max_output_tokens or _longest_answer(prompt),
        "stream": True,
    }
    if prompt.system:
        body["system"] = prompt.system
    if prompt.temperature is not None:
        body["temperature"] = min(prompt.temperature, WARMEST)
    if prompt.effort:
        body["output_config"] = {"effort": prompt.effort}
    if body["messages"] and caching.wanted(body):
        body[caching.PARAMETER] = caching.MARK
    return body


def _longest_answer(prompt: Prompt) -> int:
    most = size_of(prompt.model).max_output_tokens or CLAUDE_OUTPUT_TOKENS
    return output_limit(most, prompt.window) or most


class _MessagesReader(EventReader):
    """Reads Messages events. Usage is cumulative: later numbers replace earlier ones."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}

    def read(self, event: Any) -> str | None:
        kind = event.get("type")
        if kind == "content_block_delta":
            delta = event["delta"]
            return str(delta["text"]) if delta["type"] == "text_delta" else self._without_text(delta)
        if kind == "content_block_start":
            return str(event["content_block"].get("text") or "")
        if kind == "error" or event.get("error"):
            raise ErrorEvent(event)
        if kind == "message_start":
            self._count(event["message"].get("usage"))
        elif kind == "message_delta":
            self._count(event.get("usage"))
            if reason := event["delta"].get("stop_reason"):
                self.finish = _finish(reason)
        elif kind == "message":
            return self._whole(event)
        elif kind is None:
            # Gateways report the errors of the server behind them in its own form.
            raise ErrorEvent(event) if is_error(event) else ValueError("an event without a type")
        return None

    def _without_text(self, delta: Any) -> str | None:
        if delta["type"] == "thinking_delta":
            self.noted.append(str(delta["thinking"]))
        return None

    def _whole(self, message: Any) -> str:
        """Return the text of a whole message, which some gateways send to a streaming request."""
        self._count(message.get("usage"))
        if reason := message.get("stop_reason"):
            self.finish = _finish(reason)
        thought, text = sorted_parts(message["content"])
        self.noted.append(thought)
        return text

    def _count(self, usage: object) -> None:
        counts = usage.items() if isinstance(usage, dict) else ()
        self._counts.update({name: count for name, count in counts if type(count) is int and count >= 0})
        if "input_tokens" in self._counts:
            cached = self._counts.get("cache_read_input_tokens", 0)
            written = self._counts.get("cache_creation_input_tokens", 0)
            self.usage = Usage(
                input_tokens=self._counts["input_tokens"] + cached + written,
                output_tokens=self._counts.get("output_tokens", 0),
                cached_input_tokens=cached,
            )


def _finish(reason: object) -> Finish:
    return _FINISHES.get(str(reason).lower(), Finish.OTHER)
