"""The signs of life of a web process: its event loop turns, pages run to their end, and streams are followed.

Each sign is what a person needs. Postgres and Redis are no signs: starting this process again brings neither back.
`/healthz` shows the signs, and `shared/wedge.py` ends the process when they stay bad (decision 0026).

A page is run in the process itself, through Streamlit's own runtime, as a browser without a cookie gets it. Such a run
asks no server. It needs no connection either, so it works while strangers hold all connections that web allows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from streamlit import runtime as streamlit_runtime

from shared.settings import Settings

log = logging.getLogger(__name__)

TURN_SECONDS = 1.0
#: A loop that turns later than this stands still. Its longest turn under full load takes less than a second.
STALL_SECONDS = 3.0
#: A page runs in less than 0.1 s alone, and in a second beside many others.
PAGE_SECONDS = 3.0
#: The first one imports all that a page needs, which a loaded machine takes some seconds for.
FIRST_PAGE_SECONDS = 30.0
#: While nobody looks at a page, one is run so many times less often: a run takes 6 ms of a core (measured).
REST_TIMES = 3


class Liveness:
    """Looks at one web process. `signs` and `page_ended` are for any thread, `run` is for the event loop."""

    def __init__(
        self, settings: Settings, *, follows_streams: Callable[[], bool], is_visited: Callable[[], bool]
    ) -> None:
        self._check_seconds = settings.web_check_seconds
        self._follows_streams = follows_streams
        self._is_visited = is_visited
        now = time.monotonic()
        self._turned_at = now
        self._page_ended_at = now
        #: When the page that runs now was begun; None between two checks.
        self._page_began_at: float | None = None
        self._last_page_ran = True
        self._page_seconds = FIRST_PAGE_SECONDS

    async def run(self) -> None:
        """Turn, and run a page every `web_check_seconds` while somebody is there, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._turn())
            tasks.create_task(self._check_pages())

    def page_ended(self) -> None:
        """Note that somebody's page was drawn: scripts run, however long ours has to wait among them."""
        self._page_ended_at = time.monotonic()

    def signs(self) -> dict[str, bool]:
        """Return each sign by name, True when it is good."""
        now = time.monotonic()
        turns = now - self._turned_at < STALL_SECONDS
        return {
            # Among hundreds of scripts the loop waits for its turn: it is starved, not stuck. A stuck one starts no
            # script, so pages end soon after it.
            "loop": turns or now - self._page_ended_at < PAGE_SECONDS,
            "pages": self._pages_run(),
            # Reader and sweep live in the loop: while it does not turn they cannot be judged.
            "streams": not turns or self._follows_streams(),
        }

    def _pages_run(self) -> bool:
        began_at = self._page_began_at
        if began_at is None:
            return self._last_page_ran
        return time.monotonic() - max(began_at, self._page_ended_at) < self._page_seconds

    async def _turn(self) -> None:
        while True:
            self._turned_at = time.monotonic()
            await asyncio.sleep(TURN_SECONDS)

    async def _check_pages(self) -> None:
        while True:
            await self._until_next_check()
            self._page_began_at = time.monotonic()
            try:
                self._last_page_ran, _ = await streamlit_runtime.get_instance().does_script_run_without_error()
            except Exception:
                log.exception("no page can be run")
                self._last_page_ran = False
            finally:
                self._page_began_at, self._page_seconds = None, PAGE_SECONDS

    async def _until_next_check(self) -> None:
        for _ in range(REST_TIMES):
            await asyncio.sleep(self._check_seconds)
            if self._is_visited():
                return
