"""Limit the page's WebSocket between uvicorn and Streamlit: who may open one, which messages pass, and when.

The checks, in order: the number of sockets (`admission`), a turn to open the page (`turns`), the kind of message, and a
turn to run the page (`turns`). `websocket` limits bytes, frames and their rate one layer below.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from google.protobuf.message import DecodeError
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from shared import metrics
from shared.settings import Settings
from web.asgi.address import client_of
from web.asgi.admission import Admission, Guest
from web.asgi.identity import owner_in, signed_in_in
from web.asgi.sessions import MARK, Cleanup, Sessions
from web.asgi.turns import Turn, Turns
from web.asgi.websocket import BACKLOG, CLOSE, POLICY_VIOLATION, WHEN_CLOSED
from web.runtime import current_runtime

log = logging.getLogger(__name__)

#: The kinds of message that our page sends besides reruns. Others clear all caches, start `git`, or request files.
KINDS = frozenset({"stop_script", "app_heartbeat"})
#: Streamlit keeps a page's last message, raw and parsed, until the next one arrives. After a longer message than this,
#: an empty one is sent to it at once.
_LARGE_BYTES = 16 * 1024
_HEARTBEAT = BackMsg(app_heartbeat=True).SerializeToString()
#: "script_finished" is far shorter, so longer messages are not parsed.
_SHORT_BYTES = 512
#: An unknown client counts as if it had just opened one page, and so comes before a crowd that keeps returning.
_NEWCOMER_OPENINGS = 1.0
#: Close codes of sockets that broke a rule; their sessions are not kept.
_BAD_CODES = frozenset({1002, 1007, 1008, 1009})
#: Reasons for which we are responsible, not the client.
_OUR_REASONS = frozenset({"process", "pace"})
_SENTENCES = {
    "process": "Too many pages are open on this server. Try again in a moment.",
    "address": "Too many pages are open from this address. Close some of them.",
    "identity": "Too many pages are open in browsers without cookies. Allow cookies for this address.",
    "owner": "Too many pages are open in this browser. Close some of them.",
    "openings": "This page was opened too often. Try again in a minute.",
    "pace": "Too many pages are being opened on this server. Try again in a moment.",
}


class SocketBounds:
    """ASGI middleware for WebSockets. It must be inside IdentityMiddleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._state: SharedState | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the connection on through a gate, or refuse it."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        if self._state is None:
            self._state = SharedState(current_runtime().settings)
        guest = Guest(owner_in(scope), client_of(scope))
        admission = self._state.admission
        if reason := admission.let_in(guest):
            await _refuse(scope, receive, send, reason)
            return
        metrics.SOCKETS.set(admission.total)
        gate = SocketGate(guest, self._state, scope)
        scope[MARK] = gate
        scope.get(WHEN_CLOSED, []).append(gate.shut)
        try:
            with current_runtime().sign_ins.held(signed_in_in(scope), gate.sign_out):
                if await gate.may_open():
                    await self._app(scope, gate.inward(receive), gate.outward(send))
                elif not gate.is_shut:
                    await _refuse(scope, receive, send, "pace")
        finally:
            gate.shut()
            gate.leave()
            admission.let_out(guest)
            self._state.cleanup.later(ended=1)
            metrics.SOCKETS.set(admission.total)


class SharedState:
    """The state shared by the sockets of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.admission = Admission(settings)
        self.turns = Turns(
            at_once=settings.page_runs,
            seconds=settings.page_turn_seconds,
            most_overdue=settings.page_runs_overdue,
        )
        self.openings = Turns(
            at_once=1, seconds=settings.page_run_seconds, most_overdue=0, newcomer_runs=_NEWCOMER_OPENINGS
        )
        self.sessions = Sessions(settings)
        self.cleanup = Cleanup(self.sessions)


class SocketGate:
    """One socket's gate. It holds messages back until they may pass, and watches the output for the end of a run."""

    def __init__(self, guest: Guest, state: SharedState, scope: Scope) -> None:
        self._guest, self._state = guest, state
        # Under a server other than ours, nothing waits and the app closes the socket itself.
        self._close: Callable[[str], None] | None = scope.get(CLOSE)
        self._backlog: Callable[[], int] = scope.get(BACKLOG, lambda: 0)
        self._session_id = ""
        self._turn: Turn | None = None
        self._is_open = self._is_running = self._is_sending = self._was_bad = False
        self.is_shut = False
        #: Set at every change that may let a waiting message pass.
        self._change = asyncio.Event()

    def shut(self) -> None:
        """Stop all messages, because the connection has ended. May be called repeatedly."""
        self.is_shut = True
        self._end_turn()
        self._change.set()

    def sign_out(self) -> None:
        """Close the socket and its page's session, because the person's session has ended."""
        self._was_bad = True
        if self._close is not None:
            self._close("signed_out")
        self.shut()

    def leave(self) -> None:
        """Release the session. It is kept for its owner, unless there is none or a rule was broken."""
        if self._session_id:
            owner = None if self._was_bad else self._guest.owner
            self._state.sessions.left(self._session_id, self, owner=owner)

    async def may_open(self) -> bool:
        """Wait for a turn to open the page. Return False if the connection ended meanwhile, or the wait was too long.

        Opening creates a session and runs the page, even if the client has left by then.
        """
        settings = self._state.settings
        turn = self._state.openings.ask(self._guest.key, f"from {self._guest.address}", granted=self._change.set)
        try:
            if not turn.was_granted:
                await self._next_change(settings.page_run_seconds)
            if turn.was_granted and not self.is_shut:
                seconds = 1 / settings.socket_openings_per_second
                asyncio.get_running_loop().call_later(seconds, turn.end)
                return True
        except BaseException:
            turn.end()
            raise
        turn.end()
        return False

    def inward(self, receive: Receive) -> Receive:
        """Receive a message for the app, once it may pass."""
        is_holding_much = False

        async def received() -> Message:
            nonlocal is_holding_much
            # Streamlit calls this for the first message right after connecting the session.
            self._session_id = self._session_id or (self._state.sessions.join(self) if self._is_open else "")
            if is_holding_much:
                is_holding_much = False
                return {"type": "websocket.receive", "bytes": _HEARTBEAT}
            while True:
                message = await receive()
                # Yield, since a queue that is never empty would block the event loop.
                await asyncio.sleep(0)
                if message["type"] == "websocket.disconnect":
                    self._was_bad = self._was_bad or message.get("code") in _BAD_CODES
                if message["type"] != "websocket.receive" or await self._passes(message):
                    is_holding_much = len(message.get("bytes") or b"") > _LARGE_BYTES
                    return message

        return received

    def outward(self, send: Send) -> Send:
        """Send the app's message. Raises OSError, as uvicorn does, if the connection has ended."""

        async def sent(message: Message) -> None:
            if self.is_shut:
                raise ConnectionError
            self._is_sending = True
            try:
                await send(message)
            finally:
                self._is_sending = False
                self._change.set()
            if message["type"] == "websocket.accept":
                self._is_open = True
            if message["type"] == "websocket.send":
                self._learn(message.get("bytes") or b"")

        return sent

    async def _passes(self, message: Message) -> bool:
        """Wait until the app may have this message. Return False if it never may."""
        payload = message.get("bytes")
        kind, fragment_id = _kind_of(payload, self._state.settings)
        if kind is None:
            self._was_bad = True
            if self._close is not None:
                self._close("protocol")
            return False
        if kind == "rerun_script":
            return await self._may_run(fragment_id, size=len(payload or b""))
        return kind in KINDS

    async def _may_run(self, fragment_id: str, *, size: int) -> bool:
        """Wait for the end of this socket's run, then for a turn.

        Return False if the connection ended meanwhile, or if Streamlit would ignore the message.

        A run ends when the client has read its last message, so a client that does not read cannot start more runs.
        """
        settings, began = self._state.settings, time.monotonic()
        limit = began + settings.page_run_seconds
        while self._is_sending or (self._is_running and time.monotonic() < limit):
            if not await self._next_change(settings.page_run_seconds):
                return False
        self._end_turn()
        if not self._state.sessions.would_run(self._session_id, self, fragment_id=fragment_id):
            return False
        turn = self._turn = self._state.turns.ask(
            self._guest.key,
            granted=self._change.set,
            is_over=lambda: not self._state.sessions.runs(self._session_id),
            weight=1 + self._backlog(),
        )
        while not turn.was_granted:
            if not await self._next_change(settings.page_run_seconds):
                return False
        metrics.PAGE_WAIT_SECONDS.observe(time.monotonic() - began)
        self._state.cleanup.later(runs=1, size=size)
        self._is_running = not fragment_id
        return not self.is_shut

    async def _next_change(self, seconds: float) -> bool:
        """Wait up to `seconds` for a change. Return False if the connection has ended."""
        self._change.clear()
        if not self.is_shut:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._change.wait()
        return not self.is_shut

    def _learn(self, payload: bytes) -> None:
        if len(payload) > _SHORT_BYTES:
            return
        message = ForwardMsg.FromString(payload)
        if (
            message.WhichOneof("type") == "script_finished"
            and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN
        ):
            self._is_running = False
            self._end_turn()
            self._change.set()

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.end()
            self._turn = None


async def _refuse(scope: Scope, receive: Receive, send: Send, reason: str) -> None:
    """Answer the handshake with 429 (503 if the process itself is overloaded) and one sentence."""
    metrics.SOCKETS_REFUSED.labels(reason).inc()
    log.info("socket refused", extra={"reason": reason})
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"5")]
    status = 503 if reason in _OUR_REASONS else 429
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": _SENTENCES[reason].encode()})


def _kind_of(payload: bytes | None, settings: Settings) -> tuple[str | None, str]:
    """Return Streamlit's name for the kind of message (None if no page sends it) and the fragment to run.

    The parsed message is not kept, because the raw one may have to wait for its turn.
    """
    if payload is None:
        return None, ""
    try:
        message = BackMsg.FromString(payload)
    except DecodeError:
        return None, ""
    kind = message.WhichOneof("type")
    if kind != "rerun_script":
        return kind or "", ""
    widgets = message.rerun_script.widget_states.widgets
    question = max((each.chat_input_value.ByteSize() for each in widgets), default=0)
    if len(widgets) > settings.socket_widgets or len(payload) - question > settings.socket_state_bytes:
        return None, ""
    return kind, message.rerun_script.fragment_id
