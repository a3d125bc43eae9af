"""Reads the events of OpenAI Responses, and the whole response that a look at it returns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from workers.providers.base import Call, Finish
from workers.providers.openai.usage import usage_in
from workers.providers.sdk.decoding import ErrorEvent, EventReader, is_error

#: The states of a response that still runs.
UNDER_WAY = frozenset({"queued", "in_progress"})
_TEXT = "response.output_text.delta"
_REFUSAL = "response.refusal.delta"
_THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
_NEW_SUMMARY = "response.reasoning_summary_part.added"
_STATES = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_INCOMPLETE = {"max_output_tokens": Finish.LENGTH, "content_filter": Finish.CONTENT_FILTER}
_COUNTS = ("input_tokens", "output_tokens")
#: An id becomes part of an address. Gateways make long ids, with characters of base64.
_ID = re.compile(r"(?!\.{1,2}$)[!-~]{1,1000}")


class ResponseReader(EventReader):
    """Reads one response, over one or several connections, and notes its id in `call`."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call
        #: Whether the response goes on when its connection ends. Its id is of no use otherwise.
        self.is_lasting = True
        #: Whether the server has told the state of the response, and with it the id.
        self.has_begun = False
        #: Whether the response goes on, but has no id that can be used.
        self.lacks_id = False
        #: Whether the end was read.
        self.has_ended = False
        #: The number of the last event that was read; None before the first.
        self.sequence: int | None = None
        self._written = 0
        self._has_thought = self._has_refused = False

    def read(self, event: Any) -> str | None:
        """See `EventReader.read`."""
        kind, number = event.get("type"), event.get("sequence_number")
        if number is not None:
            if self.sequence is not None and number <= self.sequence:
                return None  # read on an earlier connection
            self.sequence = number
        if kind == _TEXT:
            return self._text(event["delta"])
        if kind == _REFUSAL:
            self._has_refused = True
            return self._text(event["delta"])
        if kind in _THOUGHTS:
            self._think(event["delta"])
        elif kind == _NEW_SUMMARY and self._has_thought:
            self.noted.append("\n\n")
        else:
            return self._state(kind, event)
        return None

    def _state(self, kind: object, event: Any) -> str | None:
        """Read an event about the response itself."""
        if kind in _STATES:
            self._begin(event["response"])
        elif kind in _ENDS:
            return self._end(event["response"])
        elif event.get("object") == "response":
            return self._whole(event)
        elif (kind is None or kind == "error") and is_error(event):
            raise ErrorEvent(event)
        return None

    def _text(self, text: str) -> str:
        self._written += len(text)
        return text

    def _think(self, thought: str) -> None:
        self._has_thought = True
        self.noted.append(thought)

    def _begin(self, response: Any) -> None:
        self.has_begun = True
        if not self.is_lasting or response.get("background") is False:
            return
        found = response.get("id")
        self.lacks_id = not (isinstance(found, str) and _ID.fullmatch(found))
        if not self.lacks_id:
            self.call.begin(found)

    def _whole(self, response: Any) -> str:
        """Return the text of a response that came as a document, without what was read before."""
        if response.get("status") in UNDER_WAY:
            self._begin(response)
            raise ConnectionError("the response has not ended")  # it can be taken up again
        return self._end(response, is_whole=True)

    def _end(self, response: Any, *, is_whole: bool = False) -> str:
        """Note how the response ended; return the text that came in no delta. Raises ErrorEvent for a failed one."""
        self.has_begun = self.has_ended = True
        if usage := response.get("usage"):
            self.usage = usage_in(usage, *_COUNTS)
        rest = self._rest(response)[self._written :] if is_whole or not self._written else ""
        if response.get("status") == "incomplete":
            details: Any = response.get("incomplete_details") or {}
            self.finish = _INCOMPLETE.get(str(details.get("reason")), Finish.OTHER)
        elif response.get("status") == "completed":
            self.finish = Finish.REFUSAL if self._has_refused else Finish.STOP
        else:
            raise ErrorEvent({"error": response.get("error") or {"code": "server_error"}})
        return rest

    def _rest(self, response: Any) -> str:
        """Return the text of the output. Note its summary if nothing was read yet."""
        output = response.get("output") or []
        if not (self._has_thought or self._written):
            self.noted += ["\n\n".join(part["text"] for item in output for part in item.get("summary") or ())]
        return "".join(self._texts(output))

    def _texts(self, output: Any) -> Iterator[str]:
        for part in (part for item in output if item.get("type") == "message" for part in item.get("content") or ()):
            if part.get("type") == "refusal":
                self._has_refused = True
                yield part.get("refusal") or ""
            elif part.get("type") == "output_text":
                yield part.get("text") or ""
