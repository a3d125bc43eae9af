"""The page's WebSocket without a browser: opens a session as Streamlit's frontend does, and asks questions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from uuid import UUID

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.patience import patient

PATIENCE_SECONDS = patient(60)


@dataclass
class PageSocket:
    """One tab; `frames` holds everything drawn in the last run."""

    connection: ClientConnection
    frames: list[ForwardMsg] = field(default_factory=list)
    composer: str = ""

    def rerun(self, conversation_id: UUID, *widgets: WidgetState) -> None:
        """Request a run of the page with these widgets' values, without waiting for it."""
        message = BackMsg()
        message.rerun_script.query_string = f"c={conversation_id}"
        message.rerun_script.widget_states.widgets.extend(widgets)
        self.connection.send(message.SerializeToString())

    def run(self, conversation_id: UUID, *widgets: WidgetState) -> None:
        """Run the page with these widgets' values; wait until the run ends."""
        self.rerun(conversation_id, *widgets)
        self.frames = []
        limit = time.monotonic() + PATIENCE_SECONDS
        while not self.frames or self.frames[-1].WhichOneof("type") != "script_finished":
            frame = ForwardMsg()
            frame.ParseFromString(bytes(self.connection.recv(timeout=limit - time.monotonic(), decode=False)))
            self.frames.append(frame)
            if frame.delta.new_element.HasField("chat_input"):
                self.composer = frame.delta.new_element.chat_input.id

    def ask(self, conversation_id: UUID, text: str) -> None:
        """Send a question from the composer, in this conversation."""
        if not self.composer:
            self.run(conversation_id)
        widget = WidgetState(id=self.composer)
        widget.chat_input_value.data = text
        self.run(conversation_id, widget)

    def drew(self, text: str) -> bool:
        """Return whether the last run drew this text."""
        return any(text in frame.delta.new_element.html.body for frame in self.frames)


@contextmanager
def page_socket(
    url: str, cookie: str, headers: Mapping[str, str] | None = None, *, tls: SSLContext | None = None
) -> Iterator[PageSocket]:
    """Open a tab in the browser with this cookie; `url` is the page's, without a trailing slash."""
    with connect(
        f"{url.replace('http', 'ws', 1)}/_stcore/stream",
        additional_headers={"Cookie": cookie, **(headers or {})},
        subprotocols=[Subprotocol("streamlit")],
        ssl=tls,
        open_timeout=PATIENCE_SECONDS,
        max_size=None,
        proxy=None,
    ) as connection:
        yield PageSocket(connection)
