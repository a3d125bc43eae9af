"""Settings of a whole process: thread switching, the garbage collector, the allocator, open files.

Only a process's main module or composition root calls these.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys

#: Longest time that a thread keeps the interpreter while another waits; Python's default is 5 ms. A question passes
#: through two threads of web and three of a worker, each beside a busy event loop.
SWITCH_SECONDS = 0.0001
#: From glibc's malloc.h.
_M_ARENA_MAX = -8


def shorten_switch_interval() -> None:
    """Switch threads sooner.

    Measured: with 20 answers running, 0.5 instead of 5 ms saved a new answer 6 ms; with 300, 0.1 instead of 0.5 ms
    saves 7.
    """
    sys.setswitchinterval(SWITCH_SECONDS)


def raise_open_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: a page holds up to five, and a soft limit of 1,024 is
    common."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports no limit and accepts 10,240
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def limit_malloc_arenas() -> None:
    """Make all threads allocate from two arenas; has an effect under glibc only.

    By default glibc gives threads up to eight arenas per core, and each arena keeps memory that it cannot return. Web
    runs every page in a new thread: after an attack with long messages it kept 31 MB, and 24 with two arenas.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def freeze_loaded_objects() -> None:
    """Exempt all present objects from garbage collection, and collect less often.

    Full collections stopped a worker's event loop for up to 430 ms, and web's for 240 ms every 2 s, with 300 streams
    (measured). Streams create hardly any cycles, so rarer collections cost little memory. Call it once or twice: a
    present object that becomes part of a garbage cycle later is never freed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def release_free_memory() -> None:
    """Collect garbage and return free memory to the system, after many sessions have ended. Takes about 20 ms.

    A C library without `malloc_trim` (macOS, musl) returns memory by itself, or never.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
