"""Track Streamlit's sessions: the socket that holds each one, and the time it is kept after its socket has closed.

Streamlit keeps the last 128 for two minutes. Here, sessions without an owner, or of a socket that we closed, end at
once. The others are kept up to a limit per owner and one for the process; the oldest end first.

This relies on undocumented names of Streamlit: `_session_mgr`, a client's `_websocket`, a session's
`_state`. tests/web/test_sockets.py fails when they change.

For the event loop's thread only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Any

from streamlit.runtime import Runtime
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.session_manager import SessionManager

from shared.interpreter import release_free_memory
from shared.people import Owner
from shared.settings import Settings

log = logging.getLogger(__name__)

#: Scope key of a marker that links a socket to its session.
MARK = "naru.mark"
#: A garbage collection takes 20 to 50 ms. Run it at most this often, after this many sockets or page runs.
_PAUSE_SECONDS = 10.0
_MANY_ENDED = 16
_MANY_RUNS = 100
#: A run leaves its input behind as cyclic garbage. Beyond this many bytes the collection comes sooner.
_MANY_BYTES = 8 * 1024 * 1024
_SHORT_PAUSE_SECONDS = 1.0


class Sessions:
    """Knows which session belongs to which socket, and closes those that are not kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._holders: dict[str, object] = {}
        #: Owner and closing time of each kept session by its id, the oldest first.
        self._kept: dict[str, tuple[Owner, float]] = {}

    def join(self, holder: object) -> str:
        """Return the id of the session just connected to the socket with this marker, or "".

        It may be a kept session, or one taken over from another socket.
        """
        clients: list[tuple[str, Any]] = [(each.session.id, each.client) for each in _manager().list_active_sessions()]
        found = (
            session_id
            for session_id, client in reversed(clients)
            if client._websocket.scope.get(MARK) is holder  # noqa: SLF001
        )
        if session_id := next(found, ""):
            self._holders[session_id] = holder
            self._kept.pop(session_id, None)
        return session_id

    def runs(self, session_id: str) -> bool:
        """Whether a script of this session is under way."""
        session = self._active(session_id)
        return session is not None and session._state is AppSessionState.APP_IS_RUNNING  # noqa: SLF001

    def would_run(self, session_id: str, holder: object, *, fragment_id: str) -> bool:
        """Whether Streamlit would run the page for this socket; it ignores messages of sockets without a session."""
        session = self._active(session_id)
        if session is None or self._holders.get(session_id) is not holder:
            return False
        return not fragment_id or session.has_fragment(fragment_id)

    def left(self, session_id: str, holder: object, *, owner: Owner | None) -> None:
        """Release the session of a closed socket. Without `owner` it is not kept."""
        if self._holders.get(session_id) is not holder:
            return  # another socket has taken the session over
        del self._holders[session_id]
        if owner is None:
            self._close(session_id)
        else:
            self._kept[session_id] = (owner, time.monotonic())
            self._drop_surplus(owner)

    def drop_expired(self) -> None:
        """Close the sessions that were kept for `kept_session_seconds`."""
        limit = time.monotonic() - self._settings.kept_session_seconds
        for session_id in [each for each, (_, at) in self._kept.items() if at <= limit]:
            self._close(session_id)

    @property
    def kept(self) -> int:
        """The number of sessions kept without a socket."""
        return len(self._kept)

    def _active(self, session_id: str) -> AppSession | None:
        info = _manager().get_active_session_info(session_id)
        return info.session if info else None

    def _drop_surplus(self, owner: Owner) -> None:
        mine = [each for each, (its_owner, _) in self._kept.items() if its_owner == owner]
        for session_id in mine[: max(0, len(mine) - self._settings.kept_sessions_per_owner)]:
            self._close(session_id)
        while len(self._kept) > self._settings.kept_sessions:
            most, _ = Counter(each for each, _ in self._kept.values()).most_common(1)[0]
            self._close(next(each for each, (its_owner, _) in self._kept.items() if its_owner == most))

    def _close(self, session_id: str) -> None:
        self._kept.pop(session_id, None)
        if Runtime.exists() and not Runtime.instance().is_active_session(session_id):
            Runtime.instance().close_session(session_id)


def _manager() -> SessionManager:
    return Runtime.instance()._session_mgr  # noqa: SLF001


class Cleanup:
    """Closes expired sessions and collects garbage, once for many runs.

    Streamlit would collect garbage after each run: with 200 pages open that stopped everything for 100 ms at each
    click.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._ended = self._runs = self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def later(self, *, ended: int = 0, runs: int = 0, size: int = 0) -> None:
        """Schedule a cleanup, after sockets closed or pages ran on `size` bytes of input."""
        self._ended += ended
        self._runs += runs
        self._bytes += size
        self._within(_SHORT_PAUSE_SECONDS if self._bytes >= _MANY_BYTES else _PAUSE_SECONDS)

    def _within(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._run)

    def _run(self) -> None:
        self._timer = None
        self._sessions.drop_expired()
        if self._ended >= _MANY_ENDED or self._runs >= _MANY_RUNS or self._bytes >= _MANY_BYTES:
            self._ended = self._runs = self._bytes = 0
            release_free_memory()
        if self._sessions.kept:
            self._within(_PAUSE_SECONDS)
