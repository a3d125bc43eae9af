"""What both vendors' adapters share: the client's life, and reading one stream of events to its end.

The official async SDK over its aiohttp client, with raw events (`cast_to=object`): typed objects cost more
than all the rest. Its own retries are off: waiting belongs to the queue, not into a slot. What a request and
an event look like is the adapters' business.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from shared.errors import BadStream, ProviderError, StreamBroken
from workers.providers.base import Done, Finish, Prompt, Stream, Usage
from workers.providers.mapping import mapped, request_id_of
from workers.providers.mending import Mender

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
#: After the finish mark the answer is whole; usage may follow, but is worth no more than this wait.
TAIL_SECONDS = 2.0
#: Far above any sensible NARU_CONCURRENCY: slots are counted there, never by waiting for a connection.
MAX_CONNECTIONS = 4096
#: Long enough to save the next question's handshake; servers that close sooner are noticed when they do.
KEEP_ALIVE_SECONDS = 20.0


class Events(Protocol):
    """An SDK's stream of raw events, as far as it is used here."""

    @property
    def response(self) -> httpx2.Response:
        """The reply whose body the events are."""

    def __aiter__(self) -> AsyncIterator[object]:
        """The decoded events, in order."""

    async def close(self) -> None:
        """Close the reply and, unless it was read to its end, the connection."""


class Reader(ABC):
    """Reads one stream's events: gives their text and remembers the finish mark and the usage."""

    finish: Finish | None = None
    usage: Usage | None = None

    @abstractmethod
    def read(self, event: Any) -> str | None:
        """The text in `event`, if any. An event of another shape than the protocol's may raise anything."""


class Client(Protocol):
    """An SDK's client, as far as it is used here."""

    async def close(self) -> None:
        """Close its connections."""


ClientT = TypeVar("ClientT", bound=Client)


class SdkProvider(ABC, Generic[ClientT]):
    """A provider reached through a vendor's SDK."""

    loggers: ClassVar[tuple[str, ...]] = ("openai", "anthropic", "httpx2", "httpcore2", "aiohttp")

    def __init__(self, name: str, *, api_key: str, base_url: str) -> None:
        self.name = name
        self._api_key = api_key
        self._base_url = base_url
        self._client: ClientT | None = None
        self._opening = asyncio.Lock()

    async def stream(self, prompt: Prompt) -> Stream:
        """See `base.Provider.stream`."""
        reader, mender, reply = self._reader(), Mender(), _Reply()
        events: Events | None = None
        failure: ProviderError | None = None
        try:
            events = await self._call(await self._opened(), prompt)
            reply.begin(events.response)
            async for event in events:
                if text := mender.mend(reader.read(event)):
                    yield text
                if reader.finish is not None:
                    await _read_tail(events, reader)
                    break
        except Exception as error:  # noqa: BLE001 - the one place where foreign errors end
            failure = mapped(error, name=self.name, started=reply.started, request_id=reply.request_id)
            log.info("%s failed with %s: %s", self.name, type(error).__qualname__, failure.code)
        finally:
            if events is not None:
                await _close(events)
        if failure is not None:
            # Raised out here, so that the foreign error, which may quote the prompt, is not its context.
            raise failure
        if reader.finish is None:
            raise reply.unfinished(self.name)
        yield Done(reader.finish, reader.usage, reply.request_id)

    async def warm(self) -> None:
        """Import the SDK and make the client, off the loop: half a second that no answer should wait for."""
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

    def _transport(self) -> dict[str, Any]:
        """Options of the SDK's HTTP client."""
        import httpx2  # noqa: PLC0415 - comes with an SDK, and is as heavy

        return {
            # No read timeout here: the limits for first token, silence and total are kept by one timer per
            # stream (limits.py); aiohttp's would be set anew with every packet.
            "timeout": httpx2.Timeout(None, connect=CONNECT_SECONDS),
            "limits": httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS),
            # A redirect would carry the prompt, and Anthropic's key header, to another host.
            "follow_redirects": False,
            # A proxy of the environment cannot reach this machine's own loopback.
            "trust_env": not is_loopback(self._base_url),
        }

    @abstractmethod
    def _open(self) -> ClientT:
        """Import the SDK and make a client. Runs in a thread."""

    @abstractmethod
    async def _call(self, client: ClientT, prompt: Prompt) -> Events:
        """Send the request; return once the reply has begun."""

    @abstractmethod
    def _reader(self) -> Reader:
        """A reader for one stream."""


class _Reply:
    """What is known of one call's reply beside its events."""

    started = False
    request_id: str | None = None
    content_type = ""

    def begin(self, response: httpx2.Response) -> None:
        self.started = True
        self.request_id = request_id_of(response.headers)
        self.content_type = response.headers.get("content-type", "")

    def unfinished(self, name: str) -> ProviderError:
        """The error for a body that ended in good order, but without the finish mark."""
        is_stream = "event-stream" in self.content_type
        kind = StreamBroken if is_stream else BadStream
        return kind(f"{name}: {kind.__doc__}", provider_request_id=self.request_id)


async def _close(events: Events) -> None:
    # The connection is gone in any case; how it went is no reason to lose an answer.
    with suppress(Exception):
        await events.close()


async def _read_tail(events: Events, reader: Reader) -> None:
    """Read what follows the finish mark (usage; the end, so that the connection can serve again)."""
    # Whatever goes wrong here, the answer is whole: asking again would be billed twice.
    with suppress(Exception):
        async with asyncio.timeout(TAIL_SECONDS):
            async for event in events:
                reader.read(event)


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine's own loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
