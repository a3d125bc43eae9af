"""A listener for notices, on its own connection."""

from __future__ import annotations

import select
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from sqlalchemy import Engine, text

from shared.postgres import notices, notify
from shared.postgres.notify import Notice


class Listener:
    """Listens on one channel while its `with` block runs, for notices that this engine's transactions send inside.

    `over` is the engine of its connection, where this one leads to a pooler.
    """

    def __init__(self, engine: Engine, channel: str, *, over: Engine | None = None) -> None:
        self._engine = engine
        self._connection = (over or engine).connect().execution_options(isolation_level="AUTOCOMMIT")
        self._raw: Any = self._connection.connection.driver_connection
        self._channel = channel
        #: The process id of the server's process that sent the last notice.
        self.sender = 0

    def __enter__(self) -> Self:
        self._connection.execute(text(f"LISTEN {self._channel}"))
        # Notices follow their commits, in order: those from before come before this one.
        mark = Notice(self._channel, uuid4(), uuid4())
        notices.send(self._engine, [mark])
        while (heard := self.next()) != mark:
            assert heard is not None, "the mark does not come"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._connection.execute(text("UNLISTEN *"))
        self._connection.close()

    def next(self, *, seconds: float = 5.0) -> Notice | None:
        """Return the next notice, or None when none came in time."""
        self._raw.poll()
        while not self._raw.notifies:
            if not select.select([self._raw.fileno()], [], [], seconds)[0]:
                return None
            self._raw.poll()
        heard = self._raw.notifies.pop(0)
        self.sender = heard.pid
        return notify.parse(heard.channel, heard.payload)

    def silent(self, *, seconds: float = 0.1) -> bool:
        """Return whether no further notice comes within `seconds`."""
        return self.next(seconds=seconds) is None
