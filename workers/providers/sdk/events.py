"""Server-sent events as both wire formats use them: bytes come in, the data of whole events goes out.

Only `data` matters here: both vendors say in it, as JSON, all that the other fields say. By
https://html.spec.whatwg.org/multipage/server-sent-events.html (lines end with LF, CR LF or CR; an event ends with an
empty line; several `data` lines of one event are one text). What the data means is the adapters' business.
"""

from __future__ import annotations

#: Far above any event of a model's text; a server that never ends its event would fill the memory.
LONGEST_EVENT_BYTES = 16 * 2**20


class EventBuffer:
    """Puts one reply's events together from the pieces in which they arrive."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that `piece` completes. ValueError when one grows beyond all sense."""
        text = self._rest + piece if self._rest else piece
        if b"\r" in text:
            text = _with_line_feeds(text)
        whole, _, self._rest = text.rpartition(b"\n\n")
        if len(self._rest) > LONGEST_EVENT_BYTES:
            raise ValueError("an event without an end")
        if not whole:
            return []
        return [data for event in whole.split(b"\n\n") if (data := _data_of(event))]


def _with_line_feeds(text: bytes) -> bytes:
    """`text` with LF for every line's end; a CR at the very end stays, for its LF may follow."""
    last = text[-1:] if text.endswith(b"\r") else b""
    return text[: len(text) - len(last)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + last


def _data_of(event: bytes) -> bytes:
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = (line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(lines)
