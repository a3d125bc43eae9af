"""The sessions of this process's open pages: which are valid, and what ends with them.

A request's session is read from the database, at most once in FRESH_SECONDS. Pages and streams stay open, so those in
use are read again every CHECK_SECONDS, all in one statement. Once a session has ended, everything that holds it is
closed, within a second. Without open pages of signed-in people nothing is read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from shared.errors import Unavailable
from shared.people.sessions import SignedIn, read
from shared.people.tokens import hash_of
from shared.settings import Settings

log = logging.getLogger(__name__)

CHECK_SECONDS = FRESH_SECONDS = 0.5
#: While the database is away, a session counts as valid for this long after it was last read: nobody can end it then.
TRUSTED_SECONDS = 60.0
#: Longest wait for the database, and the time after a failure in which no request waits for it again.
PATIENCE_SECONDS, REST_SECONDS = 5.0, 2.0
#: The sessions whose last reading is kept.
MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class _Reading:
    signed_in: SignedIn
    at: float


class SignIns:
    """For the event loop's thread only."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings, self._engine = settings, engine
        self._known: OrderedDict[bytes, _Reading] = OrderedDict()
        self._reading: dict[bytes, asyncio.Task[SignedIn | None]] = {}
        #: The callbacks of each session in use, for its end.
        self._in_use: dict[bytes, list[Callable[[], None]]] = {}
        self._failed_at = -REST_SECONDS
        # Threads of their own: a check must not queue behind a page's work.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="sign-ins")

    async def find(self, token: str) -> SignedIn | None:
        """Return the session with this token, or None if there is none. Raises Unavailable."""
        token_hash = hash_of(token)
        known = self._known.get(token_hash)
        if known is not None and time.monotonic() - known.at <= FRESH_SECONDS:
            return known.signed_in
        try:
            if time.monotonic() < self._failed_at + REST_SECONDS:
                raise Unavailable
            return await self._read_once(token_hash)
        except Unavailable:
            if known is None or time.monotonic() - known.at > TRUSTED_SECONDS:
                raise
            return known.signed_in

    def forget(self, token: str) -> None:
        """Read this session from the database at its next use, because this process has ended it."""
        self._known.pop(hash_of(token), None)

    @contextmanager
    def held(self, signed_in: SignedIn | None, ended: Callable[[], None]) -> Iterator[None]:
        """Watch the session inside, and call `ended` when it ends. Does nothing without one."""
        if signed_in is None:
            yield
            return
        callbacks = self._in_use.setdefault(signed_in.token_hash, [])
        callbacks.append(ended)
        try:
            yield
        finally:
            callbacks.remove(ended)
            if not callbacks and self._in_use.get(signed_in.token_hash) is callbacks:
                del self._in_use[signed_in.token_hash]

    async def run(self) -> None:
        """Check the sessions in use, again and again."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if not self._in_use:
                continue
            try:
                await self._check()
            except Unavailable:
                continue  # the next check finds what ended meanwhile
            except Exception:
                log.exception("a check of the sessions failed")

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _check(self) -> None:
        hashes = list(self._in_use)
        valid = await self._read(hashes)
        for token_hash in hashes:
            if token_hash not in valid:
                for ended in list(self._in_use.get(token_hash, ())):
                    _call(ended)

    async def _read_once(self, token_hash: bytes) -> SignedIn | None:
        """Read a session. A page's first requests arrive together and share one query."""
        reading = self._reading.get(token_hash)
        if reading is None:
            reading = asyncio.create_task(self._read_one(token_hash))
            self._reading[token_hash] = reading
            reading.add_done_callback(lambda _: self._reading.pop(token_hash, None))
        # One request that leaves must not cancel it for the others.
        return await asyncio.shield(reading)

    async def _read_one(self, token_hash: bytes) -> SignedIn | None:
        return (await self._read([token_hash])).get(token_hash)

    async def _read(self, hashes: Iterable[bytes]) -> dict[bytes, SignedIn]:
        asked = list(hashes)
        answer = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: read(self._engine, asked, self._settings)
        )
        began = time.monotonic()
        try:
            valid = await asyncio.wait_for(answer, PATIENCE_SECONDS)
        except (TimeoutError, Unavailable) as error:
            self._failed_at = time.monotonic()
            raise Unavailable from error
        for token_hash in asked:
            self._known.pop(token_hash, None)
            if token_hash in valid:
                self._known[token_hash] = _Reading(valid[token_hash], began)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return valid


def _call(ended: Callable[[], None]) -> None:
    """Call it; an error must not keep the others from being called."""
    try:
        ended()
    except Exception:
        log.exception("what holds an ended session could not be closed")
