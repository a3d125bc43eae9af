"""Liveness checks of a web process: the event loop turns, pages run, and streams are followed.

Postgres and Redis are not checked, because restarting this process brings neither back. `/healthz` reports the checks,
and `shared/wedge.py` ends the process when they keep failing (decision 0026).

The page check runs a page through Streamlit's own runtime, as for a browser without a cookie. Such a run queries no
server and uses no connection, so it works even while all connections are taken.
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
#: The loop counts as stalled after this long. Under full load its longest turn takes less than a second.
STALL_SECONDS = 3.0
#: A page takes less than 0.1 s alone, and a second among many others.
PAGE_SECONDS = 3.0
#: The first run imports every module of the page, which takes some seconds on a loaded machine.
FIRST_PAGE_SECONDS = 30.0
#: Without visitors, check pages this many times less often: a run takes 6 ms of a core (measured).
REST_TIMES = 3


class Liveness:
    """Checks one web process. `signs` and `page_ended` are for any thread, `run` is for the event loop."""

    def __init__(
        self, settings: Settings, *, follows_streams: Callable[[], bool], is_visited: Callable[[], bool]
    ) -> None:
        self._check_seconds = settings.web_check_seconds
        self._follows_streams = follows_streams
        self._is_visited = is_visited
        now = time.monotonic()
        self._turned_at = now
        self._page_ended_at = now
        #: When the current check began; None between two checks.
        self._page_began_at: float | None = None
        self._last_page_ran = True
        self._page_seconds = FIRST_PAGE_SECONDS

    async def run(self) -> None:
        """Check the loop, and a page every `web_check_seconds` while there are visitors, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._turn())
            tasks.create_task(self._check_pages())

    def page_ended(self) -> None:
        """Record that a visitor's page was drawn, which proves that scripts run."""
        self._page_ended_at = time.monotonic()

    def signs(self) -> dict[str, bool]:
        """Return each check's name and whether it passes."""
        now = time.monotonic()
        turns = now - self._turned_at < STALL_SECONDS
        return {
            # Among hundreds of scripts the loop is starved, not stuck. A stuck loop starts no scripts, so soon no
            # page ends any more.
            "loop": turns or now - self._page_ended_at < PAGE_SECONDS,
            "pages": self._pages_run(),
            # The reader and the sweep run in the loop, so a stalled loop says nothing about them.
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
