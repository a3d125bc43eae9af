"""The live answer on one page: a line-by-line port of `web/live/stream.js`, so that the suite sees what a person sees.

It keeps (request, attempt, next) as the events give them and never counts characters. It calls `shown` with every
change of the text before it processes the next event. It uses no network and no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WAITING = frozenset({"queued", "next", "no_worker", "unserved", "waiting", "away"})


class Screen:
    """One conversation on one page. Calls `shown(reset, text)` with new text and `ended(data)` at an end."""

    def __init__(self, *, shown: Callable[[bool, str], None], ended: Callable[[dict[str, Any]], None]) -> None:
        self._shown, self._ended_told = shown, ended
        #: Set after an event that does not fit: the page must reconnect without an id.
        self.wants_snapshot = False
        self.request_id: str | None = None
        self.text = ""
        self._begin(None)

    def _begin(self, request_id: str | None) -> None:
        self.request_id = request_id
        self.attempt, self.next = 0, 0
        self.has_text, self.dimmed = False, False
        self.seen: dict[str, Any] = {"phase": "idle"}
        self.ended: dict[str, Any] | None = None
        self._tell(reset=True, text="")

    def take(self, name: str, data: dict[str, Any]) -> None:
        """Process one event."""
        {"state": self._on_state, "delta": self._on_delta, "snapshot": self._on_snapshot, "end": self._on_end}[name](
            data
        )

    def _on_state(self, data: dict[str, Any]) -> None:
        unfinished = self.request_id and not self.ended
        if data["phase"] == "idle":
            if unfinished and (not data["request_id"] or data["request_id"] == self.request_id):
                self._on_end({"request_id": self.request_id, "status": ""})
            return
        if data["request_id"] != self.request_id:
            self._begin(data["request_id"])
        if self.ended:
            return
        self.seen = data
        self.dimmed = self.has_text and (data["phase"] in WAITING or (data.get("attempt") or 0) > self.attempt)

    def _on_delta(self, data: dict[str, Any]) -> None:
        if not self._may_take(data):
            return
        if data["attempt"] == self.attempt:
            if data["next"] <= self.next:
                return
            if data["at"] != self.next:
                self.wants_snapshot = True
                return
            self._take(data, reset=data["at"] == 0)
        elif data["at"] == 0:
            self._take(data, reset=True)
        else:
            self.wants_snapshot = True

    def _on_snapshot(self, data: dict[str, Any]) -> None:
        if not self._may_take(data):
            return
        if data["attempt"] == self.attempt and data["next"] < self.next:
            return
        if data["text"]:
            self._take(data, reset=True)
        else:
            self.dimmed, self.attempt, self.next = self.has_text, data["attempt"], 0

    def _may_take(self, data: dict[str, Any]) -> bool:
        if data["request_id"] != self.request_id:
            self._begin(data["request_id"])
        return not self.ended and data["attempt"] >= self.attempt

    def _take(self, data: dict[str, Any], *, reset: bool) -> None:
        self.attempt, self.next, self.has_text = data["attempt"], data["next"], True
        self.dimmed = self.seen["phase"] in WAITING and data["attempt"] <= (self.seen.get("attempt") or 0)
        if not self.dimmed:
            self.seen = {**self.seen, "phase": "streaming", "request_id": self.request_id}
        self._tell(reset=reset, text=data["text"])

    def _on_end(self, data: dict[str, Any]) -> None:
        if data["request_id"] != self.request_id and (not self.request_id or self.ended):
            self._begin(data["request_id"])
        if data["request_id"] != self.request_id or self.ended:
            return
        self.ended = data
        self._ended_told(data)

    def _tell(self, *, reset: bool, text: str) -> None:
        self.text = text if reset else self.text + text
        self._shown(reset, text)
