"""The adapter for Ollama's own API, `/api/chat`: lines of JSON, the last of which has `done`.

Through its OpenAI form, Ollama cuts a prompt to its default window and says nothing. Its own API takes `num_ctx`, so
each call asks for a window that holds the prompt and the answer. A prompt that does not fit the model's own window is
refused here, before the call, in the same way as another server would refuse it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from shared.errors import ConnectFailed, StreamBroken
from shared.vendors import OLLAMA
from workers.providers.base import Call, Done, Prompt, Stream, counted
from workers.providers.knowledge import Known
from workers.providers.mapping import mapped
from workers.providers.ollama.lines import Lines
from workers.providers.ollama.window import UNKNOWN_WINDOW, exceeds, num_ctx_for, window_in
from workers.providers.resending import send_again_if_closed
from workers.providers.sdk.provider import CONNECT_SECONDS, KEEP_ALIVE_SECONDS, MAX_CONNECTIONS, is_loopback
from workers.providers.tokens import size_of
from workers.providers.windows import Stated, WindowExceeded

# Only for types: only a worker with this provider pays for the import.
if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

DEFAULT_ADDRESS: Final = "http://127.0.0.1:11434"
#: Ollama tells the window within milliseconds, unless its machine is busy.
SHOW_SECONDS = 10.0
_LONGEST_ERROR_BYTES = 65_536


class Refused(Exception):
    """A reply with an error status. Only `mapping` reads it."""

    def __init__(self, response: aiohttp.ClientResponse, body: object) -> None:
        super().__init__("a refusal")
        self.status_code, self.response, self.body = response.status, response, body


class OllamaProvider:
    """An Ollama server."""

    def __init__(
        self,
        name: str = OLLAMA.name,
        *,
        api_key: str = "",
        base_url: str = DEFAULT_ADDRESS,
        ca_file: str = "",
        known: Known | None = None,  # noqa: ARG002 - Ollama ignores parameters that it does not know
    ) -> None:
        self.name = name
        self._base_url = (base_url or DEFAULT_ADDRESS).rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None
        #: The windows of the models that were asked for.
        self._windows: dict[str, int] = {}
        #: How a model takes the effort: 0 is its word, as gpt-oss does, 1 is yes or no, 2 is not at all.
        self._effort_forms: dict[str, int] = {}

    def stream(self, prompt: Prompt, call: Call | None = None) -> Stream:  # noqa: ARG002 - its calls end with it
        """See `base.Provider.stream`."""
        return _OllamaStream(self, prompt)

    async def cancel(self, call_id: str) -> None:
        """See `base.Provider.cancel`."""

    async def call(self, prompt: Prompt) -> aiohttp.ClientResponse:
        """Send the request, and return the reply once it has begun. Raises Refused, WindowExceeded and aiohttp's."""
        window, size = await self._window_of(prompt.model), size_of(prompt)
        known = window or UNKNOWN_WINDOW
        if exceeds(size, len(prompt.messages), prompt.max_output_tokens, known):
            refusal = WindowExceeded(f"{self.name}: {WindowExceeded.__doc__}")
            refusal.stated = Stated(known, size, is_guess=window is None)
            raise refusal
        return await self._chat(prompt, _body(prompt, num_ctx_for(size, prompt.max_output_tokens, known)))

    async def _chat(self, prompt: Prompt, body: dict[str, Any]) -> aiohttp.ClientResponse:
        """Send the request in the form of the effort that the model takes. Raises Refused and aiohttp's errors."""
        while True:
            form = self._effort_forms.get(prompt.model, 0)
            think = (prompt.effort, True, None)[form] if prompt.effort else None
            response = await self._post("/api/chat", body if think is None else {**body, "think": think})
            if response.status == 200:
                return response
            try:
                refusal = Refused(response, await _error_in(response))
            finally:
                response.close()
            if think is None or response.status != 400 or "think" not in str(refusal.body).lower():
                raise refusal
            self._effort_forms[prompt.model] = form + 1

    async def warm(self) -> None:
        """Open the session."""
        await asyncio.to_thread(__import__, "aiohttp")
        self._opened()

    async def close(self) -> None:
        """See `base.Provider.close`."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _window_of(self, model: str) -> int | None:
        """Return the model's own window, asked for once; None if the server does not tell it.

        Raises ConnectFailed, TimeoutError and aiohttp's errors: a server that is away or busy has told nothing.
        """
        import aiohttp

        if model not in self._windows:
            async with asyncio.timeout(SHOW_SECONDS), await self._post("/api/show", {"model": model}) as response:
                try:
                    window = window_in(await response.json(content_type=None)) if response.status == 200 else None
                except aiohttp.ClientPayloadError:
                    raise ConnectFailed(f"{self.name}: {ConnectFailed.__doc__}") from None
                except ValueError:
                    window = None
            if window is None:
                return None
            self._windows[model] = window
        return self._windows[model]

    async def _post(self, path: str, body: dict[str, Any]) -> aiohttp.ClientResponse:
        url, session = f"{self._base_url}{path}", self._opened()

        async def send() -> aiohttp.ClientResponse:
            return await session.post(url, json=body, allow_redirects=False)

        return await send_again_if_closed(send)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            tls = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=tls),
                # timeouts.py limits the wait for the reply.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers=self._headers,
                trust_env=not is_loopback(self._base_url),
            )
        return self._session


class _OllamaStream(Stream):
    """One call and its reply."""

    def __init__(self, provider: OllamaProvider, prompt: Prompt) -> None:
        super().__init__()
        self._provider, self._prompt, self._lines = provider, prompt, Lines()
        self._content: aiohttp.StreamReader | None = None

    def take(self) -> str:
        """See `base.Stream.take`."""
        content = self._content
        if content is None or not self._lines.is_open or content.exception() is not None:
            return ""
        return self._lines.decode(content.read_nowait())

    async def _run(self) -> AsyncGenerator[str | Done, None]:
        lines, name, failure = self._lines, self._provider.name, None
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._provider.call(self._prompt)
            async with aclosing(self._read(response.content)) as texts:
                async for text in texts:
                    yield text
            lines.check()
        except Exception as error:  # noqa: BLE001 - every foreign error becomes one of ours here
            failure = mapped(error, name=name, started=response is not None)
            said = {"provider": name, "error": type(error).__qualname__, "error_code": failure.code}
            log.info("provider failed", extra=said)
        finally:
            if response is not None:
                _leave(response)
        if failure is not None:
            # Raised outside the `except`, because the foreign error may quote the prompt and must not be its context.
            raise failure
        if lines.finish is None:
            raise StreamBroken(f"{name}: {StreamBroken.__doc__}")
        yield Done(lines.finish, counted(lines.usage), None)

    async def _read(self, content: aiohttp.StreamReader) -> AsyncGenerator[str, None]:
        """Generate the text and the reasoning of the reply."""
        lines, self._content = self._lines, content
        while lines.is_open and (piece := await content.readany()):
            text = lines.decode(piece)
            if not text:
                self.heard_at = monotonic()
            while text:
                yield text
                text = lines.decode(b"")
        text = lines.end()
        while text:
            yield text
            text = lines.decode(b"")


def _leave(response: aiohttp.ClientResponse) -> None:
    """Keep the connection of a reply that was read to its end, and close any other at once."""
    if response.content.at_eof():
        response.release()
    else:
        response.close()


def _body(prompt: Prompt, num_ctx: int) -> dict[str, Any]:
    messages = [{"role": each.role, "content": each.text} for each in prompt.messages]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": prompt.system})
    options: dict[str, float] = {"num_ctx": num_ctx}
    if prompt.max_output_tokens:
        options["num_predict"] = prompt.max_output_tokens
    if prompt.temperature is not None:
        options["temperature"] = prompt.temperature
    return {"model": prompt.model, "messages": messages, "stream": True, "options": options}


async def _error_in(response: aiohttp.ClientResponse) -> object:
    """Return the body of a refusal: JSON where it is that, else its text."""
    data = await response.content.read(_LONGEST_ERROR_BYTES)
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
