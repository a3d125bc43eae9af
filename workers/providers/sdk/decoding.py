"""Decodes the bytes of one reply: server-sent events, their JSON, and the text in them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

import jiter

from workers.providers.base import Finish, Usage
from workers.providers.sdk.events import EventBuffer
from workers.providers.sdk.mending import Mender
from workers.providers.sdk.reasoning import Sorter

#: Chat Completions' last event; anything after it is not part of the answer.
DONE_MARK = b"[DONE]"


class ErrorEvent(Exception):
    """An error that a provider reports within a stream."""

    def __init__(self, body: object) -> None:
        super().__init__("an error event")
        #: The provider's error object. Only `mapping` reads it, and shows none of its text.
        self.body = body


#: The keys of an error that is no `error` object. No event of an answer has one of them at the top.
_ERROR_KEYS = ("message", "detail", "details", "errors")


def is_error(event: Any) -> bool:
    """Return whether an event of no known kind is an error, in any of the forms that servers use."""
    kinds = (event.get("object"), event.get("type"))
    return "error" in kinds or any(event.get(key) for key in ("error", *_ERROR_KEYS))


class EventReader(ABC):
    """Reads the events of one stream in one wire format, and keeps the finish mark and the usage."""

    finish: Finish | None = None
    usage: Usage | None = None

    def __init__(self) -> None:
        #: Reasoning in the events since the last look.
        self.noted: list[str] = []

    @abstractmethod
    def read(self, event: Any) -> str | None:
        """Return the text in `event`, if any, and note its reasoning.

        An event that breaks the protocol may raise any exception.
        """


class Decoder:
    """Turns the bytes of one reply into text. Text before an error is returned before the error is raised."""

    def __init__(self, reader: EventReader) -> None:
        self.reader = reader
        #: True once nothing but usage can follow.
        self.is_over = False
        self._events, self._mender, self._sorter = EventBuffer(), Mender(), Sorter()
        self._error: Exception | None = None
        self._noted = reader.noted
        #: Whether any text or reasoning has come.
        self.has_text = False

    def decode(self, piece: bytes) -> str:
        """Return the text in `piece`, and keep an error for `check`.

        Of a piece with reasoning, return that as a Thought; the next call, also with an empty piece, returns the text.
        """
        if not piece:
            return self._sorter.rest()
        texts = []
        try:
            for data in self._events.feed(piece):
                if data == DONE_MARK:
                    self.is_over = True
                    break
                texts.append(self._mender.mend(self.reader.read(_parsed(data))))
        except Exception as error:  # noqa: BLE001 - raised by check(), after the text that came before it
            self._error = error
        if self.reader.finish is not None:
            self.is_over = True
        return self._sorted(texts[0] if len(texts) == 1 else "".join(texts))

    def go_on(self) -> None:
        """Expect the bytes of another connection, which go on after the last complete event."""
        self._events, self._error, self.is_over = EventBuffer(), None, False

    def decode_whole(self, document: bytes) -> str:
        """Return the text of a reply that is one JSON document, or its reasoning, as `decode` does."""
        try:
            value = _parsed(document)
            text = self._mender.mend(self.reader.read(value[0] if isinstance(value, list) and value else value))
            self.is_over = True
        except Exception as error:  # noqa: BLE001 - as in `decode`
            self._error = error
            return ""
        return self._sorted(text)

    def _sorted(self, text: str) -> str:
        if self._noted or self._sorter.is_busy:
            text = self._sorter.sort(text, self._noted, is_last=self.is_over)
        if text:
            self.has_text = True
        return text

    @property
    def finish(self) -> Finish | None:
        """The reason of the end; None without one. A server that wrote or thought, and then ended, has finished."""
        return self.reader.finish or (Finish.STOP if self.is_over and self.has_text else None)

    @property
    def is_open(self) -> bool:
        """Whether text can follow: there was neither an end nor an error."""
        return not self.is_over and self._error is None

    def check(self) -> None:
        """Raise the error of the last `decode`. After the finish mark no error can spoil the answer."""
        if self._error is not None and self.reader.finish is None:
            raise self._error


def _parsed(data: bytes) -> Any:
    """Parse JSON with the parser that both SDKs depend on, which takes half the time of Python's own."""
    try:
        return jiter.from_json(data, cache_mode="keys")
    except ValueError:
        # jiter refuses half of an emoji, which some servers send. Anything else fails here too, with the usual error.
        return json.loads(data.decode())
