"""Decodes the lines of one reply of `/api/chat`: the text, the finish mark and the usage."""

from __future__ import annotations

import json
from typing import Any

from shared.errors import WrongAddress
from workers.providers.base import Finish, Usage
from workers.providers.sdk.decoding import ErrorEvent
from workers.providers.sdk.events import LONGEST_EVENT_BYTES
from workers.providers.sdk.mending import Mender
from workers.providers.sdk.reasoning import Sorter

_FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH}


class Lines:
    """Turns the bytes of one reply into text. Text before an error is returned before the error is raised."""

    def __init__(self) -> None:
        self.finish: Finish | None = None
        self.usage: Usage | None = None
        self._rest, self._mender, self._sorter = b"", Mender(), Sorter()
        #: The reasoning in the lines since the last `decode`.
        self._noted: list[str] = []
        self._error: Exception | None = None
        self._has_begun = False

    @property
    def is_open(self) -> bool:
        """Whether text can follow: there was neither an end nor an error."""
        return self.finish is None and self._error is None

    def decode(self, piece: bytes) -> str:
        """Return the text or the reasoning of the lines that `piece` completes, and keep an error for `check`.

        See `Decoder.decode`.
        """
        if not piece:
            return self._sorter.rest()
        whole, found, self._rest = (self._rest + piece).rpartition(b"\n")
        if len(self._rest) > LONGEST_EVENT_BYTES:
            self._error = ValueError("a line without an end")
        return self._text_in(whole) if found else ""

    def end(self) -> str:
        """Return the text of a last line that has no line end."""
        last, self._rest = self._rest, b""
        return self._text_in(last) if self.is_open else ""

    def check(self) -> None:
        """Raise the error that ended the stream, if one did."""
        if self._error is not None:
            raise self._error

    def _text_in(self, lines: bytes) -> str:
        texts = []
        try:
            for line in filter(bytes.strip, lines.split(b"\n")):
                if not self.is_open:
                    break
                if not self._has_begun and line.lstrip().startswith(b"<"):
                    raise WrongAddress  # a web page
                self._has_begun = True
                texts.append(self._mender.mend(self._read(json.loads(line))))
        except Exception as error:  # noqa: BLE001 - raised by check(), after the text that came before it
            self._error = error
        text = "".join(texts)
        if self._noted or self._sorter.is_busy:
            return self._sorter.sort(text, self._noted, is_last=self.finish is not None)
        return text

    def _read(self, event: dict[str, Any]) -> str:
        """Return the text of one line, and note its reasoning."""
        if error := event.get("error"):
            raise ErrorEvent(error)
        message = event.get("message") or {}
        if isinstance(thought := message.get("thinking"), str):
            self._noted.append(thought)
        text = message.get("content") or ""
        if not isinstance(text, str):
            raise TypeError("a delta that is not text")
        if event.get("done"):
            self.finish = _FINISHES.get(event.get("done_reason") or "stop", Finish.OTHER)
            counts = [event.get(name) for name in ("prompt_eval_count", "eval_count")]
            if any(isinstance(count, int) for count in counts):
                read, written = (count if isinstance(count, int) else 0 for count in counts)
                self.usage = Usage(read, written)
        return text
