"""The history of what the people did and saw, in order. It is append-only; the checker reads it.

submit        key, text: Enter was pressed                refused    key, code: an error came back
accepted      key, request                                unknown    key: the outcome is not known
gave_up       key: it is not sent again                   opened     the event stream opened
text          request, attempt, reset, text: the screen   broken     the event stream broke
state         request, attempt, code: the phase shown     ended      request, code: the status in `end`
stop          request: Stop was pressed                   stopping   request, code: what Stop was answered
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry. `at` is the machine's time, as in the simulator's log; `seconds` is how long a reply took."""

    at: float
    page: int
    what: str
    key: str = ""
    request: str = ""
    attempt: int = 0
    reset: bool = False
    text: str = ""
    code: str = ""
    seconds: float = 0.0


class History:
    """The entries, also appended to a file if one is given. It is thread-safe."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._file = path.open("a", encoding="utf-8", buffering=1) if path else None
        self._lock = threading.Lock()

    def add(self, page: int, what: str, **facts: object) -> Entry:
        """Append an entry, and return it."""
        entry = Entry(at=time(), page=page, what=what, **facts)  # type: ignore[arg-type]
        with self._lock:
            self.entries.append(entry)
            if self._file is not None:
                given = {name: value for name, value in asdict(entry).items() if value or name in {"at", "page"}}
                self._file.write(json.dumps(given, ensure_ascii=False) + "\n")
        return entry

    def take(self) -> list[Entry]:
        """Return and remove the entries since the last call. The file keeps them."""
        with self._lock:
            taken, self.entries = self.entries, []
        return taken

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read(path: Path) -> list[Entry]:
    """Return the entries in a file."""
    return [Entry(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
