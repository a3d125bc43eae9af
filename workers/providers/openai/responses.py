"""The adapter for OpenAI Responses in background mode, whose calls go on when nobody reads them.

A response has an id. Another process reads it again from its first event, and a connection that broke is followed by
one that goes on after the last event: the prompt is sent, and billed, once. OpenAI streams a response again only in its
first minutes. After these the stream looks at its state until it has ended, and then takes its whole text.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote

from shared.errors import ConnectFailed, Overloaded, ProviderError, RateLimited, ServerFailed, StreamBroken
from workers.providers import adapting
from workers.providers.adapting import Taught
from workers.providers.base import Call, Done, Prompt, Stream
from workers.providers.mapping import mapped
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.openai.response_events import UNDER_WAY, ResponseReader
from workers.providers.quirks import Body, Form
from workers.providers.sdk.body import body_of
from workers.providers.sdk.decoding import Decoder, EventReader
from workers.providers.sdk.mending import sendable
from workers.providers.sdk.provider import Reply, SdkStream

# Only for types: importing the SDK takes most of a second and 45 MB, which only a worker with this provider pays.
if TYPE_CHECKING:
    import httpx2
    import openai

log = logging.getLogger(__name__)

#: Pauses before a call is taken up again. They begin anew after an event, and after a look that found the call running.
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
#: After this many breaks without an event, the stream looks at the state instead.
MOST_EMPTY = 2
LOOK_SECONDS = 2.0
#: Wait this long for the id of a response that nobody will read, and as long for its cancellation.
CANCEL_SECONDS = 10.0
#: A provider that is closed waits this long for such cancellations. Less than `shared.settings.CLOSE_SECONDS`.
LEAVE_SECONDS = 5.0
#: Statuses of a response that the server does not have any more.
GONE = frozenset({404, 410})
#: Statuses of a cancel that finds nothing to end.
_ENDED = GONE | {400, 409}
_LATE = 400
_FORM = Form("max_output_tokens", frozenset({"model", "messages", "stream", "max_output_tokens"}))


class Made(NamedTuple):
    """The reply to a call that makes a response, with its body unread."""

    reply: httpx2.Response
    #: Whether the response was to run in background.
    is_lasting: bool


class ResponsesProvider(OpenAIProvider):
    """A server that offers OpenAI Responses with `background`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ending: set[asyncio.Task[None]] = set()
        self._has_warned = False

    def stream(self, prompt: Prompt, call: Call | None = None) -> Stream:
        """See `base.Provider.stream`."""
        return _ResponseStream(self, prompt, call or Call())

    async def cancel(self, call_id: str) -> None:
        """See `base.Provider.cancel`."""
        failure = None
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await (await self._opened()).post(f"{_path(call_id)}/cancel", cast_to=object)
        except Exception as error:  # noqa: BLE001 - every foreign error becomes one of ours here
            if _status_of(error) not in _ENDED:
                failure = mapped(error, name=self.name, started=False)
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """See `base.Provider.close`. First waits a little for the responses that are being cancelled."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=LEAVE_SECONDS)
        await super().close()

    def cancel_when_created(self, making: asyncio.Task[Made], decoder: Decoder, reader: ResponseReader) -> None:
        """Cancel a response as soon as its id is known. Returns at once.

        `decoder`, with its `reader`, has decoded the events so far.
        """
        task = asyncio.create_task(self._end_unread(making, decoder, reader))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end_unread(self, making: asyncio.Task[Made], decoder: Decoder, reader: ResponseReader) -> None:
        call = reader.call = Call()  # the answer's own call must not be noted any more
        with suppress(Exception):  # a refusal made nothing; after any other error nobody can know
            async with asyncio.timeout(CANCEL_SECONDS):
                reply, reader.is_lasting = await making
                async with aclosing(reply):
                    body = body_of(reply)
                    while reader.is_lasting and not reader.has_begun and decoder.is_open:
                        decoder.decode(await anext(body))
            if call.id is not None:
                await self.cancel(call.id)

    def warn_of_ids(self) -> None:
        """Log, once, that the provider's responses have ids that cannot be used."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "a response in background has no usable id: it can be neither taken up nor cancelled",
                extra={"provider": self.name},
            )

    async def follow(self, call_id: str, after: int | None) -> httpx2.Response:
        """Return the events of a response after the one with the number `after`, or all, with the body unread."""
        return await self._get(call_id, {"stream": "true", **({} if after is None else {"starting_after": after})})

    async def whole(self, call_id: str) -> httpx2.Response:
        """Return a response as a document, with the body unread."""
        return await self._get(call_id, {})

    async def is_under_way(self, call_id: str) -> bool:
        """Whether a response still runs."""
        found: Any = await (await self._opened()).get(_path(call_id), cast_to=object)
        return found["status"] in UNDER_WAY

    async def _get(self, call_id: str, parameters: dict[str, object]) -> httpx2.Response:
        import httpx2
        import openai

        reply: object = await (await self._opened()).get(
            _path(call_id),
            cast_to=httpx2.Response,
            options={"params": parameters},
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        return cast("httpx2.Response", reply)  # as in `OpenAIProvider._call`

    async def make(self, prompt: Prompt, taught: Taught) -> Made:
        """Make a response, and return once the reply has begun."""
        return await self._make(await self._opened(), sendable(prompt), taught)

    async def _call(self, client: openai.AsyncOpenAI, prompt: Prompt, taught: Taught) -> httpx2.Response:
        return (await self._make(client, prompt, taught)).reply

    async def _make(self, client: openai.AsyncOpenAI, prompt: Prompt, taught: Taught) -> Made:
        async def post(body: Body) -> Made:
            sent = _sent(body)
            return Made(await self.post(client, "/responses", sent, prompt.trace_id), "background" in sent)

        return await adapting.call(post, _body(prompt), _FORM, self._known, taught)

    # A response is refused before it begins.
    def learn(self, error: Exception, prompt: Prompt, taught: Taught) -> bool:  # noqa: ARG002
        """See `SdkProvider.learn`."""
        return False

    def reader(self) -> EventReader:
        return ResponseReader(Call())


class _ResponseStream(SdkStream):
    """One response, over as many connections as it takes."""

    def __init__(self, provider: ResponsesProvider, prompt: Prompt, call: Call) -> None:
        super().__init__(provider, prompt)
        self._responses, self._call = provider, call
        self._reader = ResponseReader(call)
        self._decoder = Decoder(self._reader)
        self._making: asyncio.Task[Made] | None = None
        #: Whether the server streams no more of this response.
        self._is_late = False
        #: How many looks found the response running.
        self._looks = 0

    @property
    def goes_on(self) -> bool:
        """See `base.Stream.goes_on`."""
        return self._call.id is not None

    async def _run(self) -> AsyncGenerator[str | Done, None]:
        breaks = 0
        while True:
            before = self._progress
            try:
                async with aclosing(super()._run()) as items:
                    async for item in items:
                        yield item
                return
            except (ConnectFailed, StreamBroken, ServerFailed, Overloaded, RateLimited) as error:
                breaks = 0 if self._progress != before else breaks
                if breaks == len(PAUSES) or not self._can_go_on():
                    raise
                pause = max(PAUSES[breaks], error.retry_after_seconds or 0.0)
            self._is_late = self._is_late or (breaks >= MOST_EMPTY and self._reply.started)
            self._decoder.go_on()
            self._reply, self._body = Reply(), None
            await asyncio.sleep(pause)
            breaks += 1

    @property
    def _progress(self) -> tuple[int | None, int]:
        return self._reader.sequence, self._looks

    def _can_go_on(self) -> bool:
        """Whether the response may still run, and its events have numbers, so that no text comes twice."""
        return self._call.id is not None and (self._reader.sequence is not None or not self._decoder.has_text)

    async def _open(self) -> httpx2.Response:
        self._making = None
        if self._call.id is not None:
            try:
                return await self._taken_up(self._call.id)
            except Exception as error:
                if _status_of(error) not in GONE:
                    raise
            self._call.end()
            if self._reader.sequence is not None:  # the text of another response must not follow
                raise StreamBroken(f"{self._provider.name}: the response is gone")
        self._reader.has_begun = False
        making = self._making = asyncio.create_task(self._responses.make(self._prompt, self._taught))
        try:
            reply, self._reader.is_lasting = await asyncio.shield(making)
        except asyncio.CancelledError:
            # The end of the connection would leave a response that nobody knows.
            self._responses.cancel_when_created(making, self._decoder, self._reader)
            raise
        return reply

    async def _leave(self, response: httpx2.Response) -> None:
        reader = self._reader
        is_unknown = reader.is_lasting and not reader.has_begun and self._decoder.is_open
        if self._making is not None and is_unknown:
            self._responses.cancel_when_created(self._making, self._decoder, reader)
        else:
            await super()._leave(response)

    def _done(self, failure: ProviderError | None) -> Done:
        # Only now: the next attempt takes up a response whose end was read here, but not delivered.
        if self._reader.has_ended:
            self._call.end()
        if self._reader.lacks_id:
            self._responses.warn_of_ids()
        return super()._done(failure)

    async def _taken_up(self, call_id: str) -> httpx2.Response:
        """Return the rest of a running response. Raises the SDK's errors."""
        if not self._is_late:
            try:
                response = await self._responses.follow(call_id, self._reader.sequence)
            except Exception as error:
                if _status_of(error) != _LATE:
                    raise
            else:
                if "json" not in response.headers.get("content-type", ""):
                    return response
                await response.aclose()
            self._is_late = True
        while await self._responses.is_under_way(call_id):
            self._looks += 1
            self._heard()
            await asyncio.sleep(LOOK_SECONDS)
        return await self._responses.whole(call_id)


def _body(prompt: Prompt) -> Body:
    """Return the parameters for a server without quirks, by the names that the quirks know."""
    body: Body = {
        "model": prompt.model,
        "messages": [{"role": each.role, "content": each.text} for each in prompt.messages],
        "stream": True,
        "background": True,
        "store": True,  # the API demands it of a response in background
        "reasoning_summary": "auto",
    }
    options = {
        "system": prompt.system or None,
        "max_output_tokens": prompt.max_output_tokens,
        "temperature": prompt.temperature,
        "reasoning_effort": prompt.effort,
    }
    return body | {name: value for name, value in options.items() if value is not None}


def _sent(body: Body) -> Body:
    """Return the body of the call. Without `background`, nothing is stored for it either."""
    if "background" not in body:
        body = {name: value for name, value in body.items() if name != "store"}
    names = {"messages": "input", "system": "instructions"}
    reasoning = {part: body[f"reasoning_{part}"] for part in ("effort", "summary") if f"reasoning_{part}" in body}
    sent = {names.get(name, name): value for name, value in body.items() if not name.startswith("reasoning_")}
    return sent | ({"reasoning": reasoning} if reasoning else {})


def _path(call_id: str) -> str:
    return f"/responses/{quote(call_id, safe='')}"


def _status_of(error: Exception) -> int | None:
    """Return the status with which a server refused a call."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None
