"""A parser for server-sent events that returns only their data: bytes in, the data of complete events out.

Both vendors repeat the other fields in the JSON of `data`. The format is that of
https://html.spec.whatwg.org/multipage/server-sent-events.html: lines end with LF, CR LF or CR, an event ends with an
empty line, and several `data` lines of one event form one text. The adapters interpret the data.
"""

from __future__ import annotations

#: Far above any event of a model's text. A server that never ends its event must not fill the memory.
LONGEST_EVENT_BYTES = 16 * 2**20


class EventBuffer:
    """Joins the pieces of one reply and splits them into events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that `piece` completes. Raises ValueError for an event that is too long."""
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
    """Return `text` with LF as every line end. A CR at the very end stays, because its LF may follow."""
    last = text[-1:] if text.endswith(b"\r") else b""
    return text[: len(text) - len(last)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + last


def _data_of(event: bytes) -> bytes:
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = (line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(lines)
