"""The simulated users: each has a page open in a browser, asks, reads, presses Stop and reloads.

They share an event loop in a separate thread, so that the test's main thread can kill and start processes meanwhile.
Use `Page` in coroutines of that loop, and `Crowd` elsewhere. The history records everything that they do and see.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID, uuid4

import aiohttp
import uvloop

from shared.errors import Unsure
from tests.faults.fault_routes import PATH
from tests.faults.history import History
from tests.faults.screen import Screen

T = TypeVar("T")
#: The browser reconnects a broken event stream after `retry:`. After a refusal the page retries with growing waits.
BROWSER_RETRY_SECONDS = 1.0
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 15.0
#: A person presses Enter again this long after an error.
AGAIN_SECONDS = 1.0
#: The longest wait for a reply to a question or a stop.
REPLY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """An accepted question."""

    page: Page
    request: str
    words: str
    key: str


class Page:
    """One browser tab with one conversation. Use it only in the crowd's loop."""

    def __init__(self, crowd: Crowd, *, like: Page | None = None) -> None:
        self._crowd = crowd
        self.number = next(crowd.numbers)
        self.conversation_id: UUID = like.conversation_id if like else uuid4()
        self.cookie: str = like.cookie if like else crowd.new_cookie()
        self.ends: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._changed = asyncio.Event()
        self._last_id = ""
        self._follower: asyncio.Task[None] | None = None
        self._load()

    def _load(self) -> None:
        self._last_id = ""
        self._drawn: set[str] = set()
        self.screen = Screen(shown=self._shown, ended=self._ended)

    def open(self) -> None:
        """Start following the conversation."""
        self._follower = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Close the tab."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])
            self._follower = None

    async def reload(self) -> None:
        """Reload the page, which loses its state."""
        await self.close()
        self._load()
        self.open()

    async def ask(
        self,
        words: str,
        *,
        model: str = "",
        key: str | None = None,
        seconds: float = 60.0,
        die: str = "",
        again: bool = True,
    ) -> Asked | None:
        """Press Enter, and again with the same key after an error, as the page does. Return None after giving up."""
        key = key or uuid4().hex
        limit = monotonic() + seconds
        while True:
            request = await self._submit(words, key, model=model, die=die)
            if request is not None:
                return Asked(self, request, words, key)
            if not again or monotonic() > limit:
                self.note("gave_up", key=key)
                return None
            die = ""
            await asyncio.sleep(AGAIN_SECONDS)

    async def _submit(self, words: str, key: str, *, model: str, die: str) -> str | None:
        body = {
            "conversation_id": str(self.conversation_id),
            "text": words,
            "idempotency_key": key,
            "model": model,
            "die": die,
        }
        self.note("submit", key=key, text=words)
        began = monotonic()
        try:
            status, answer = await self._post(PATH, body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.note("unknown", key=key, code=type(error).__name__, seconds=monotonic() - began)
            return None
        took = monotonic() - began
        if status != 200:
            code = str(answer.get("error"))
            # In this case the page says that the outcome is unknown.
            self.note("unknown" if code == Unsure.code else "refused", key=key, code=code, seconds=took)
            return None
        self.note("accepted", key=key, request=answer["request_id"], seconds=took)
        self._accepted.add(answer["request_id"])
        return str(answer["request_id"])

    async def stop(self, request: str) -> str:
        """Press Stop; return web's answer: a status, or an error."""
        self.note("stop", request=request)
        began = monotonic()
        try:
            status, answer = await self._post(f"/api/requests/{request}/stop", None)
            said = str(answer.get("status")) if status == 200 else f"refused {status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            said = f"unknown {type(error).__name__}"
        self.note("stopping", request=request, code=said, seconds=monotonic() - began)
        return said

    async def until(self, condition: Callable[[], T | None], *, seconds: float, what: str) -> T:
        """Wait for a condition on the screen. Raises TimeoutError."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := condition()):
                    self._changed.clear()
                    await self._changed.wait()
                return found
        except TimeoutError:
            raise TimeoutError(f"page {self.number}: not within {seconds:g} s: {what}") from None

    async def see_end(self, request: str, *, seconds: float = 60.0) -> str:
        """Wait until the page knows that the request has ended; return its status."""
        return await self.until(lambda: self.ends.get(request), seconds=seconds, what=f"{request} ends")

    async def see_text(self, request: str, *, tokens: int = 1, seconds: float = 60.0) -> None:
        """Wait until the page shows this many words, or the request has ended."""

        def there() -> bool:
            shows = self.screen.request_id == request and self.screen.text.count("@") >= tokens
            return shows or request in self.ends

        await self.until(there, seconds=seconds, what=f"{tokens} words of {request}")

    def note(self, what: str, **facts: object) -> None:
        """Append an entry to the history."""
        self._crowd.history.add(self.number, what, **facts)

    async def _post(self, path: str, body: object) -> tuple[int, dict[str, Any]]:
        url = self._crowd.url(self.number)
        headers = {"Cookie": self.cookie, "X-Naru": "1"}
        async with (
            asyncio.timeout(REPLY_SECONDS),
            self._crowd.session.post(url + path, json=body, headers=headers) as reply,
        ):
            return reply.status, await reply.json(content_type=None)

    async def _follow(self) -> None:
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                status = await self._follow_once()
            except (aiohttp.ClientError, OSError, LookupError):
                status = 200
            self.note("broken", code=str(status))
            if self.screen.wants_snapshot:
                self.screen.wants_snapshot, self._last_id = False, ""
            elif status == 200:
                pause = FIRST_RETRY_SECONDS
                await asyncio.sleep(BROWSER_RETRY_SECONDS)
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_RETRY_SECONDS)

    async def _follow_once(self) -> int:
        url = f"{self._crowd.url(self.number)}/api/conversations/{self.conversation_id}/events"
        headers = {"Cookie": self.cookie, "Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        async with self._crowd.session.get(url, headers=headers) as reply:
            if reply.status != 200:
                return reply.status
            self.note("opened")
            # An idle conversation means that all its requests have ended, whatever the page's script has drawn.
            self._drawn = set(self._accepted)
            rest = b""
            async for piece in reply.content.iter_any():
                *frames, rest = (rest + piece).split(b"\n\n")
                for frame in frames:
                    self._understand(frame.decode())
                self._changed.set()
                if self.screen.wants_snapshot:
                    break
        return 200

    def _understand(self, frame: str) -> None:
        fields = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":") and ": " in line)
        self._last_id = fields.get("id", self._last_id)
        if "event" not in fields:
            return
        data = json.loads(fields["data"])
        if fields["event"] == "state" and data["phase"] != "idle":
            self.note("state", request=data["request_id"], attempt=data["attempt"], code=data["phase"])
        elif fields["event"] == "state" and self.screen.request_id is None:
            self.ends = dict.fromkeys(self._drawn, "gone") | self.ends
        self.screen.take(fields["event"], data)

    def _shown(self, reset: bool, text: str) -> None:
        screen = getattr(self, "screen", None)
        if screen is not None and screen.request_id:
            self.note("text", request=screen.request_id, attempt=screen.attempt, reset=reset, text=text)

    def _ended(self, data: dict[str, Any]) -> None:
        self.ends[data["request_id"]] = data["status"] or "gone"
        self.note("ended", request=data["request_id"], code=data["status"])


class Crowd:
    """The simulated users and their event loop.

    `urls` returns the current addresses of web, `new_cookie` the cookie header of another browser, without waiting.
    """

    def __init__(self, *, new_cookie: Callable[[], str], urls: Callable[[], list[str]], history: History) -> None:
        self.history = history
        self.new_cookie = new_cookie
        self.numbers = itertools.count(1)
        self._urls = urls
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="crowd", daemon=True)
        self._thread.start()
        self.session: aiohttp.ClientSession = self.do(self._session())
        self.pages: list[Page] = []

    async def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**20)

    def url(self, number: int) -> str:
        """Return the address of this page's web process; without one, an address where nothing listens."""
        urls = self._urls()
        return urls[number % len(urls)] if urls else "http://127.0.0.1:9"

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def do(self, work: Coroutine[Any, Any, T], *, seconds: float = 120.0) -> T:
        """Run a coroutine in the loop, and wait for its result."""
        return self.start(work).result(seconds)

    async def page(self, *, like: Page | None = None) -> Page:
        """Open a page in a new browser, or with `like` in another tab of that page's browser."""
        page = Page(self, like=like)
        self.pages.append(page)
        page.open()
        return page

    async def leave(self) -> None:
        """Close all pages."""
        pages, self.pages = self.pages, []
        await asyncio.gather(*(page.close() for page in pages))

    def close(self) -> None:
        """Close all pages and end the loop."""
        self.do(self.leave())
        self.do(self.session.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
