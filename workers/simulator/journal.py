"""The simulator's log: one JSON line per event of a call, with its `time.time()`.

Tests count calls and measure stops with it. It holds no prompt, answer or key. Events: start, first (first token sent),
fault, refused (an error reply), end (sent to its end), closed (the client went away before that).
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from workers.simulator.wire import Call


class Journal:
    """Appends to a file. Without a path it writes nothing."""

    def __init__(self, path: Path | None) -> None:
        # Buffered by line: a reader sees each event at once, and none is lost when the process is killed.
        self._file = path.open("a", encoding="utf-8", buffering=1) if path else None

    def write(self, event: str, call: Call, **facts: object) -> None:
        """Write the line of an event that happens now."""
        if self._file is not None:
            line = {"event": event, "at": time.time(), "call": call.number, "trace": call.trace, **facts}
            self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
