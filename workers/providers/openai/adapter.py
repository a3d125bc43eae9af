"""The adapter for Chat Completions, the wire format of OpenAI, compatible servers and the demo simulator.

It uses Chat Completions and not Responses, because every compatible server speaks it. Servers differ in the roles and
parameters that they know; `adapting.py` learns what one refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from shared.vendors import OPENAI
from workers.providers import adapting
from workers.providers.adapting import Taught
from workers.providers.base import Prompt
from workers.providers.knowledge import Known
from workers.providers.openai.chunks import ChunkReader
from workers.providers.quirks import Body, Form
from workers.providers.sdk.decoding import EventReader
from workers.providers.sdk.provider import SdkProvider

# Only for types: importing the SDK takes most of a second and 45 MB, which only a worker with this provider pays.
if TYPE_CHECKING:
    import httpx2
    import openai

OFFICIAL_BASE_URL = OPENAI.default_address
#: The key for compatible servers without accounts; the SDK demands one.
NO_KEY = "none"

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
        ca_file: str = "",
        known: Known | None = None,
    ) -> None:
        super().__init__(
            name, api_key=api_key or NO_KEY, base_url=base_url or OFFICIAL_BASE_URL, ca_file=ca_file, known=known
        )
        # OpenAI's reasoning models know only the new name, most compatible servers only the old one.
        official = self._base_url.rstrip("/") == OFFICIAL_BASE_URL
        self._form = Form("max_completion_tokens" if official else "max_tokens", _REQUIRED)

    def _open(self) -> openai.AsyncOpenAI:
        import openai

        return openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            http_client=openai.DefaultAioHttpClient(**self._transport()),
        )

    async def post(self, client: openai.AsyncOpenAI, path: str, body: Body, trace_id: str) -> httpx2.Response:
        """Send a request, and return the reply with its body unread. Raises the SDK's errors."""
        import httpx2
        import openai

        reply: object = await client.post(
            path,
            cast_to=httpx2.Response,
            body=body,
            options={"headers": {"X-Client-Request-Id": trace_id}} if trace_id else {},
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        # With this `cast_to` the SDK returns the reply itself, although its types say a stream.
        return cast("httpx2.Response", reply)

    async def _call(self, client: openai.AsyncOpenAI, prompt: Prompt, taught: Taught) -> httpx2.Response:
        async def post(body: Body) -> httpx2.Response:
            return await self.post(client, "/chat/completions", body, prompt.trace_id)

        return await adapting.call(post, _body(prompt, self._form.limit_name), self._form, self._known, taught)

    def learn(self, error: Exception, prompt: Prompt, taught: Taught) -> bool:
        """See `SdkProvider.learn`."""
        return adapting.learn_within(error, _body(prompt, self._form.limit_name), self._form, self._known, taught)

    def reader(self) -> EventReader:
        return ChunkReader()


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
