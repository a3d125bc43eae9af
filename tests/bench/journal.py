"""A reader of the simulator's log: when each call began, sent its first token and was closed by the client."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.stack import wait_until


class Journal:
    """Reads the log as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._calls: dict[int, dict[str, Any]] = {}
        self._of_trace: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def calls(self, request_id: object) -> list[dict[str, Any]]:
        """Return the provider's calls for a request, oldest first: {"start": s, "first": s, "closed": s, …}."""
        self._read()
        return self._of_trace[str(request_id)]

    def last(self) -> dict[str, Any]:
        """Return the newest call."""
        self._read()
        return self._calls[max(self._calls)]

    def first_token_seconds(self, request_id: object) -> float:
        """Return the provider's time to first token, for the request's last call."""
        call = self.calls(request_id)[-1]
        return float(call["first"] - call["start"])

    def wait_for(self, request_id: object, event: str, *, seconds: float = 30.0) -> float:
        """Wait until the last call of a request reaches `event`; return the time in the log."""

        def found() -> float | None:
            calls = self.calls(request_id)
            at: float | None = calls[-1].get(event) if calls else None
            return at

        return float(wait_until(found, seconds=seconds, what=f"the provider's call comes to {event!r}") or time.time())

    def _read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._position)
            whole, _, _ = file.read().rpartition(b"\n")
        if not whole:
            return
        self._position += len(whole) + 1
        for line in whole.splitlines():
            entry = json.loads(line)
            if entry["call"] not in self._calls:
                self._calls[entry["call"]] = {"trace": entry["trace"]}
                self._of_trace[entry["trace"]].append(self._calls[entry["call"]])
            self._calls[entry["call"]].setdefault(entry["event"], entry["at"])
