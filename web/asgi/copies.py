"""Compressed copies of installed files, made once per environment, because Brotli at its best is slow.

Copies are stored in the environment, beside the packages they were made from. The build of an image makes them;
otherwise the first web process does, in the background. Until then clients get a faster, larger coding.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from web.asgi.encoding import BEST, compress

log = logging.getLogger(__name__)

FOLDER = Path(sys.prefix) / "naru-compressed"
#: Starting Naru keeps two cores busy for less than this.
BEGIN_AFTER_SECONDS = 30.0


def copy_of(path: Path) -> Path:
    """Return the path of a file's Brotli copy, which may not exist yet. The name must change with the content."""
    return FOLDER / f"{path.name}.br"


def make(paths: Iterable[Path]) -> int:
    """Make the missing copies and return their number. Raises OSError if they cannot be written."""
    FOLDER.mkdir(exist_ok=True)
    made = 0
    for path in paths:
        copy = copy_of(path)
        if not copy.exists():
            half = copy.with_suffix(f".{os.getpid()}")  # other processes may make the same one
            half.write_bytes(compress(path.read_bytes(), "br", quality=BEST))
            half.replace(copy)
            made += 1
    return made


def make_in_background(paths: Callable[[], Iterable[Path]]) -> None:
    """Make the missing copies in a thread of the lowest priority, once the process has started."""
    threading.Thread(target=_make_quietly, args=(paths,), name="compressing", daemon=True).start()


def _make_quietly(paths: Callable[[], Iterable[Path]]) -> None:
    time.sleep(BEGIN_AFTER_SECONDS)
    try:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        if made := make(paths()):
            log.info("compressed the page's files", extra={"count": made})
    except OSError as error:
        log.info("cannot store compressed files; using faster compression", extra={"reason": str(error)})
