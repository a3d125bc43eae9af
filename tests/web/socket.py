"""Streamlit's page socket without a browser, with its session id and everything that the session draws."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from uuid import UUID

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.TextInput_pb2 import TextInput
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.patience import patient


class PageSocket:
    """One tab's socket. `session` is the id of a session to resume, as a browser does after a lost connection."""

    def __init__(self, url: str, cookie: str, *, session: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.session = ""
        self.frames: list[ForwardMsg] = []
        self._opening = connect(
            f"{url.replace('http', 'ws', 1)}/_stcore/stream",
            additional_headers={**({"Cookie": cookie} if cookie else {}), **(headers or {})},
            subprotocols=[Subprotocol(each) for each in ("streamlit", "none", session) if each],
            open_timeout=patient(30),
            max_size=None,
            proxy=None,
        )

    def __enter__(self) -> Self:
        self._socket = self._opening.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opening.__exit__(kind, error, at)

    def run(self, conversation_id: UUID, *widgets: WidgetState) -> Self:
        """Run the page once with these widgets' values, and read everything that it draws."""
        return self.run_at(f"c={conversation_id}", *widgets)

    def run_at(self, query: str, *widgets: WidgetState, fragment: str = "", seconds: float = 60) -> Self:
        """Run the page at this query string, or only one of its fragments, and read everything that it draws."""
        message = BackMsg()
        message.rerun_script.query_string = query
        message.rerun_script.fragment_id = fragment
        message.rerun_script.widget_states.widgets.extend(widgets)
        self._socket.send(message.SerializeToString())
        limit = time.monotonic() + patient(seconds)
        finished = False
        while not finished:
            frame = ForwardMsg()
            frame.ParseFromString(bytes(self._socket.recv(timeout=limit - time.monotonic(), decode=False)))
            self.frames.append(frame)
            if frame.WhichOneof("type") == "new_session":
                self.session = frame.new_session.initialize.session_id
            finished = frame.WhichOneof("type") == "script_finished"
        return self

    def button(self, key: str) -> str:
        """Return the id of the last drawn button with this key."""
        ids = (frame.delta.new_element.button.id for frame in reversed(self.frames))
        return next(each for each in ids if each.endswith(f"-{key}"))

    def panel(self) -> str:
        """Return the id of the last drawn popover that runs the page when it opens."""
        return next(found for frame in reversed(self.frames) if (found := frame.delta.add_block.popover.id))

    def text_box(self, key: str) -> TextInput:
        """Return the last drawn text box with this key."""
        boxes = (frame.delta.new_element.text_input for frame in reversed(self.frames))
        return next(each for each in boxes if each.id.endswith(f"-{key}"))

    def fragment(self) -> str:
        """Return the id of the last drawn fragment that refreshes itself."""
        return next(frame.auto_rerun.fragment_id for frame in reversed(self.frames) if frame.HasField("auto_rerun"))

    def drew(self, text: str) -> bool:
        """Return whether any drawn frame contains this text."""
        return any(text in str(frame) for frame in self.frames)
