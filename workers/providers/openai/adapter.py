"""The adapter for Chat Completions, the wire format of OpenAI, compatible servers, Ollama and the demo simulator.

It uses Chat Completions and not Responses, because every compatible server speaks it. Servers differ in the roles and
parameters that they know; `adapting.py` learns what one refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from shared.vendors import OPENAI
from workers.providers import adapting
from workers.providers.base import Finish, Prompt, Usage
from workers.providers.knowledge import Known
from workers.providers.quirks import Body, Form
from workers.providers.sdk.decoding import ErrorEvent, EventReader
from workers.providers.sdk.provider import SdkProvider
from workers.providers.sdk.reasoning import reasoning_in, sorted_parts

# Only for types: importing the SDK takes most of a second and 45 MB, which only a worker with this provider pays.
if TYPE_CHECKING:
    import httpx2
    import openai

OFFICIAL_BASE_URL = OPENAI.default_address
#: The key for compatible servers without accounts; the SDK demands one.
NO_KEY = "none"

_FINISHES = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "content_filter": Finish.CONTENT_FILTER,
}
#: Parameters that every server knows.
_REQUIRED = frozenset({"model", "messages", "stream"})


class OpenAIProvider(SdkProvider["openai.AsyncOpenAI"]):
    """Any server that speaks Chat Completions."""

    def __init__(
        self,
        name: str = "openai",
        *,
        api_key: str = NO_KEY,
        base_url: str = OFFICIAL_BASE_URL,
        known: Known | None = None,
    ) -> None:
        super().__init__(name, api_key=api_key or NO_KEY, base_url=base_url or OFFICIAL_BASE_URL)
        # OpenAI's reasoning models know only the new name, most compatible servers only the old one.
        official = self._base_url.rstrip("/") == OFFICIAL_BASE_URL
        self._form = Form("max_completion_tokens" if official else "max_tokens", _REQUIRED)
        self._known = known or Known()

    def _open(self) -> openai.AsyncOpenAI:
        import openai

        return openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            http_client=openai.DefaultAioHttpClient(**self._transport()),
        )

    async def _call(self, client: openai.AsyncOpenAI, prompt: Prompt) -> httpx2.Response:
        import httpx2
        import openai

        async def post(body: Body) -> httpx2.Response:
            reply: object = await client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                body=body,
                options={"headers": {"X-Client-Request-Id": prompt.trace_id}} if prompt.trace_id else {},
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
            # With this `cast_to` the SDK returns the reply itself, although its types say a stream.
            return cast("httpx2.Response", reply)

        return await adapting.call(post, _body(prompt, self._form.limit_name), self._form, self._known)

    def learn(self, error: Exception, prompt: Prompt) -> bool:
        """See `SdkProvider.learn`."""
        return adapting.learn_within(error, _body(prompt, self._form.limit_name), self._form, self._known)

    def reader(self) -> EventReader:
        return _ChunkReader()


def _body(prompt: Prompt, limit_name: str) -> Body:
    """Return the body for a server without quirks."""
    messages = [{"role": each.role, "content": each.text} for each in prompt.messages]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": prompt.system})
    body: Body = {
        "model": prompt.model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if prompt.max_output_tokens:
        body[limit_name] = prompt.max_output_tokens
    if prompt.temperature is not None:
        body["temperature"] = prompt.temperature
    if prompt.effort:
        body["reasoning_effort"] = prompt.effort
    return body


class _ChunkReader(EventReader):
    """Reads `chat.completion.chunk` events. Usage comes last and without choices; vLLM sends it with every chunk."""

    _refused = False

    def read(self, event: Any) -> str | None:
        if error := event.get("error"):
            raise ErrorEvent(error)
        if usage := event.get("usage"):
            self.usage = _usage(usage)
        choices = event.get("choices")
        if not choices:
            return None
        choice = choices[0]
        delta = choice.get("delta") or {}
        if reason := choice.get("finish_reason"):
            self.finish = Finish.REFUSAL if self._refused else _finish(reason)
        text: str | None = delta.get("content")
        if len(delta) > 1 or text.__class__ is not str:  # nearly all deltas are one field with text
            text = self._noting(delta)
        if not text and (text := delta.get("refusal")):
            self._refused = True
        if text is not None and not isinstance(text, str):
            raise TypeError("a delta that is not text")
        return text

    def _noting(self, delta: dict[str, Any]) -> str | None:
        """Note the reasoning in `delta`, and return its content as text."""
        if thought := reasoning_in(delta):
            self.noted.append(thought)
        content: Any = delta.get("content")
        if isinstance(content, list):
            thought, content = sorted_parts(content)
            self.noted.append(thought)
        text: str | None = content
        return text


def _finish(reason: str) -> Finish:
    if reason == "error":  # gateways send this when the server behind them failed
        raise ConnectionError("the server behind the gateway failed")
    return _FINISHES.get(reason, Finish.OTHER)


def _usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details") or {}
    of_output = usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=int(usage.get("prompt_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
        cached_input_tokens=int(details.get("cached_tokens") or 0),
        reasoning_tokens=int(of_output.get("reasoning_tokens") or 0),
    )
