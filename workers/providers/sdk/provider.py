"""A provider over a vendor's SDK: opens and closes the client, makes the call and reads the stream to its end.

The official async SDK with its aiohttp client makes the call, raises its errors and keeps the connections. Naru reads
the body of the reply itself, one network read at a time: the SDK's own decoding costs more than the rest of a token
(decision 0011). The SDK's retries are off: a request waits in the queue, not in a slot. The adapters know the form of
requests and events.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from shared.errors import BadStream, ProviderError, StreamBroken
from shared.vendors import SDKS
from workers.providers.adapting import Taught, keep
from workers.providers.base import Call, Done, Prompt, Stream, counted
from workers.providers.headroom import rest_in
from workers.providers.knowledge import Known
from workers.providers.mapping import mapped, request_id_of
from workers.providers.sdk.body import Body, body_of
from workers.providers.sdk.decoding import Decoder, EventReader
from workers.providers.sdk.mending import sendable
from workers.providers.sdk.whole import head_of, is_document, rest_of

# Only for types: httpx2 comes with the SDKs, and importing one takes most of a second.
if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
#: Wait this long for the usage after the finish mark; the answer is complete by then.
TAIL_SECONDS = 2.0
#: Refusals within streams that one question learns from.
MOST_REFUSALS = 4
#: Far above any sensible NARU_CONCURRENCY: the slots limit the answers, never the connections.
MAX_CONNECTIONS = 4096
#: Long enough to save the handshake of the next question. A server that closes sooner is noticed when it does.
KEEP_ALIVE_SECONDS = 20.0


class Client(Protocol):
    """The part of an SDK's client that is used here."""

    async def close(self) -> None:
        """Close the connections."""


ClientT = TypeVar("ClientT", bound=Client)


class SdkProvider(ABC, Generic[ClientT]):
    """A provider reached through a vendor's SDK."""

    loggers: ClassVar[tuple[str, ...]] = (*SDKS, "httpx2", "httpcore2", "aiohttp")

    def __init__(
        self, name: str, *, api_key: str, base_url: str, ca_file: str = "", known: Known | None = None
    ) -> None:
        """`ca_file` names the certificates to trust instead of the system's."""
        self.name = name
        self._api_key = api_key
        self._base_url = base_url
        self._ca_file = ca_file
        self._known = known or Known()
        self._client: ClientT | None = None
        self._opening = asyncio.Lock()

    def stream(self, prompt: Prompt, call: Call | None = None) -> Stream:  # noqa: ARG002 - for the adapters
        """See `base.Provider.stream`. An item has the text of one network read, which may hold several events."""
        return SdkStream(self, prompt)

    async def cancel(self, call_id: str) -> None:
        """See `base.Provider.cancel`."""

    async def call(self, prompt: Prompt, taught: Taught | None = None) -> httpx2.Response:
        """Send the request, and return the reply once it has begun, with its body unread."""
        return await self._call(await self._opened(), sendable(prompt), taught or Taught())

    async def warm(self) -> None:
        """Import the SDK and make the client in a thread, so that no answer waits half a second for it."""
        await self._opened()

    async def close(self) -> None:
        """See `base.Provider.close`."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _opened(self) -> ClientT:
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(self._open)
                for name in self.loggers:
                    # At DEBUG an SDK logs whole requests, prompt included.
                    logging.getLogger(name).setLevel(logging.WARNING)
            return self._client

    @abstractmethod
    def learn(self, error: Exception, prompt: Prompt, taught: Taught) -> bool:
        """Learn from a refusal that came within a stream. Return whether the question should be sent once more."""

    def keep(self, prompt: Prompt, taught: Taught) -> None:
        """Keep what refusals within streams have taught: a reply has text."""
        keep(prompt.model, self._known, taught)

    def _transport(self) -> dict[str, Any]:
        """Return the options of the SDK's HTTP client."""
        import httpx2

        return {
            # No read timeout: one timer per stream enforces all limits (timeouts.py), and aiohttp's would be set
            # again with every packet.
            "timeout": httpx2.Timeout(None, connect=CONNECT_SECONDS),
            "limits": httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS),
            # A redirect would carry the prompt, and Anthropic's key header, to another host.
            "follow_redirects": False,
            # A proxy from the environment cannot reach this machine's loopback.
            "trust_env": not is_loopback(self._base_url),
            **({"verify": ssl.create_default_context(cafile=self._ca_file)} if self._ca_file else {}),
        }

    @abstractmethod
    def _open(self) -> ClientT:
        """Import the SDK and return a client. Runs in a thread."""

    @abstractmethod
    async def _call(self, client: ClientT, prompt: Prompt, taught: Taught) -> httpx2.Response:
        """Send the request through the SDK's client."""

    @abstractmethod
    def reader(self) -> EventReader:
        """Return a reader for one stream."""


class SdkStream(Stream):
    """One call and its reply."""

    def __init__(self, provider: SdkProvider[Any], prompt: Prompt) -> None:
        super().__init__()
        self._provider, self._prompt = provider, prompt
        self._decoder, self._reply = Decoder(provider.reader()), Reply()
        self._body: Body | None = None
        self._refusals, self._taught = 0, Taught()

    def take(self) -> str:
        """See `base.Stream.take`."""
        if self._body is None or not self._decoder.is_open:
            return ""
        return self._decoder.decode(self._body.take())

    async def _open(self) -> httpx2.Response:
        """Send the request, and return the reply once it has begun, with its body unread."""
        return await self._provider.call(self._prompt, self._taught)

    async def _run(self) -> AsyncGenerator[str | Done, None]:
        decoder, reply, name = self._decoder, self._reply, self._provider.name
        response: httpx2.Response | None = None
        failure: ProviderError | None = None
        is_learnt = False
        try:
            response = await self._open()
            reply.begin(response)
            self.rest_seconds = rest_in(response.headers)
            async with aclosing(self._read(body_of(response))) as texts:
                async for text in texts:
                    yield text
            decoder.check()
        except Exception as error:  # noqa: BLE001 - every foreign error becomes one of ours here
            failure = mapped(error, name=name, started=reply.started, request_id=reply.request_id)
            is_learnt = reply.started and not decoder.has_text and self._learns(error)
            log.info(
                "provider failed",
                extra={
                    "provider": name,
                    "error": type(error).__qualname__,
                    "error_code": failure.code,
                    "provider_request_id": failure.provider_request_id,
                },
            )
        finally:
            if self._taught.unproven and decoder.has_text:
                self._provider.keep(self._prompt, self._taught)
            if response is not None:
                await self._leave(response)
        if is_learnt:
            async with aclosing(self._run()) as items:
                async for item in items:
                    yield item
            return
        yield self._done(failure)

    async def _leave(self, response: httpx2.Response) -> None:
        """Close the connection of a reply that is read no further."""
        # The connection is gone in any case, and an error here is no reason to lose an answer.
        with suppress(Exception):
            await response.aclose()

    def _done(self, failure: ProviderError | None) -> Done:
        """Return the end of the reply. Raises its error, if it has one."""
        decoder, reply = self._decoder, self._reply
        if failure is not None:
            # Raised here, because the foreign error may quote the prompt and must not be its context.
            raise failure
        if decoder.finish is None:
            raise reply.unfinished(self._provider.name, is_over=decoder.is_over)
        return Done(decoder.finish, counted(decoder.reader.usage), reply.request_id)

    async def _read(self, body: Body) -> AsyncGenerator[str, None]:
        """Generate the text and the reasoning in the body of the reply."""
        decoder = self._decoder
        piece = await head_of(body, self._heard)
        if is_document(piece):
            text = decoder.decode_whole(await rest_of(body, piece))
            while text:
                yield text
                text = decoder.decode(b"")
            return
        self._body = body
        while piece:
            text = decoder.decode(piece)
            if not text:
                self._heard()
            while text:
                yield text
                text = decoder.decode(b"")
            # A `take` during the yield may have met the end or an error.
            decoder.check()
            if decoder.is_over:
                await _read_tail(body, decoder)
                return
            piece = await anext(body, b"")

    def _heard(self) -> None:
        self.heard_at = monotonic()

    def _learns(self, error: Exception) -> bool:
        """Learn from a refusal within the stream; if it teaches something, prepare the next call."""
        self._refusals += 1
        if self._refusals > MOST_REFUSALS or not self._provider.learn(error, self._prompt, self._taught):
            return False
        self._decoder, self._reply, self._body = Decoder(self._provider.reader()), Reply(), None
        return True


class Reply:
    """The metadata of one reply."""

    started = False
    request_id: str | None = None
    content_type = ""

    def begin(self, response: httpx2.Response) -> None:
        self.started = True
        self.request_id = request_id_of(response.headers)
        self.content_type = response.headers.get("content-type", "")

    def unfinished(self, name: str, *, is_over: bool) -> ProviderError:
        """Return the error for a body that ended properly, but without the finish mark.

        With `is_over`, the end was marked, but nothing before it was understood.
        """
        is_stream = "event-stream" in self.content_type and not is_over
        kind = StreamBroken if is_stream else BadStream
        return kind(f"{name}: {kind.__doc__}", provider_request_id=self.request_id)


async def _read_tail(body: Body, decoder: Decoder) -> None:
    """Read the usage and the end of the body after the finish mark, so that the connection can be reused."""
    # The answer is complete: no error here may cause a second call, which would be billed again.
    with suppress(Exception):
        async with asyncio.timeout(TAIL_SECONDS):
            async for piece in body:
                decoder.decode(piece)


def is_loopback(url: str) -> bool:
    """Return whether the host of `url` is this machine's loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
