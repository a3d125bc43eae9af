"""The banner as this process last read it, for pages and for the browsers that look for a new one."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from sqlalchemy import Engine

from shared.errors import Unavailable
from shared.operating.banner import Banner, read_banner

#: However many browsers look, it is read at most once in this time.
FRESH_SECONDS = 2.0


class Banners:
    """For the event loop's thread only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read_at = -FRESH_SECONDS
        #: The banner, if there was one. While the database is away, the one from before.
        self.latest: Banner | None = None

    async def current(self) -> Banner | None:
        """Return the banner, if there is one; a new one within FRESH_SECONDS."""
        now = time.monotonic()
        if now - self._read_at >= FRESH_SECONDS:
            self._read_at = now  # first, so that a crowd reads it once
            with suppress(Unavailable):
                self.latest = await asyncio.to_thread(read_banner, self._engine)
        return self.latest
