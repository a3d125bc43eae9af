"""Load during a rollout: people who load the page, and questions that are asked and answered.

`Visits` sends plain requests through nginx over TLS and records each failure. `Questions` runs asking.py in its own
container, which reads from Postgres how each question ended.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Self

from tests.deploy.project import ComposeProject

PATHS = ("/", "/_stcore/health", "/page.css", "/live.js", "/favicon.png")
VISITORS = 3
PAUSE_SECONDS = 0.15


@dataclass
class Visits:
    """Requests through nginx while the block runs, of visitors who keep their cookies: nginx limits new browsers."""

    project: ComposeProject
    done: int = 0
    slowest_seconds: float = 0.0
    failed: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._threads = [threading.Thread(target=self._visit, args=(number,)) for number in range(VISITORS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _visit(self, number: int) -> None:
        context, cookies = trusting(), SimpleCookie()
        turn = number
        while not self._over.wait(PAUSE_SECONDS):
            path, began = PATHS[turn % len(PATHS)], time.monotonic()
            turn += 1
            status = get(self.project.https_port, path, context, cookies)
            with self._guard:
                self.done += 1
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
                if status != "200":
                    self.failed.append(f"{path}: {status}")


class Questions:
    """Questions at an even pace, from a thread; `ends()` waits for the last answer and returns the result."""

    def __init__(self, project: ComposeProject, *, number: int, a_second: float, patience_seconds: float = 120) -> None:
        script = Path(__file__).with_name("asking.py").read_text()
        words = (str(number), str(1 / a_second), str(patience_seconds))
        seconds = number / a_second + patience_seconds + 60
        self._thread = ThreadPoolExecutor(1)
        self._asking = self._thread.submit(project.run_python, "web", script, *words, seconds=seconds)
        self._seconds = seconds

    def ends(self) -> dict[str, Any]:
        """Return `asked`, `accepted`, `answered` (once), `otherwise` (other ends) and `failures`."""
        said = self._asking.result(self._seconds + 10)
        self._thread.shutdown()
        found: dict[str, Any]
        found, _ = json.JSONDecoder().raw_decode(said.rpartition("RESULT ")[2])
        return found


def trusting() -> ssl.SSLContext:
    """Return a TLS context that accepts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def get(port: int, path: str, context: ssl.SSLContext, cookies: SimpleCookie) -> str:
    """Send a GET and read the whole body; return the status or the error. New cookies are added to `cookies`."""
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    try:
        connection.request("GET", path, headers={"Cookie": "; ".join(f"{c.key}={c.value}" for c in cookies.values())})
        answer = connection.getresponse()
        answer.read()
        for line in answer.headers.get_all("Set-Cookie") or ():
            cookies.load(line)
        return str(answer.status)
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
