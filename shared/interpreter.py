"""How our processes use their interpreter: threads take turns quickly, the collector leaves alone what stays, and
memory goes back after a peak.

All of it is of the whole process: its main module or composition root calls them, nothing else does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys

#: A thread that waits for the interpreter gets it after this at the latest; by default after 5 ms. A question passes
#: through two threads of web and three of a worker, each beside a loop that is busy with all the others.
SWITCH_SECONDS = 0.0001
#: From glibc's malloc.h.
_M_ARENA_MAX = -8


def take_turns() -> None:
    """Have threads take turns quickly: with 20 answers running 0.5 instead of 5 ms saved a new one 6 ms, and with 300
    0.1 instead of 0.5 ms saves 7 (measured)."""
    sys.setswitchinterval(SWITCH_SECONDS)


def open_many_files() -> None:
    """Allow this process as many open files as the system lets it have: a page holds up to five, and a soft limit of
    1,024 is common."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "no limit" and takes 10,240
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def share_arenas() -> None:
    """Have all threads allocate from two arenas. Under glibc only; a wish that nobody hears elsewhere.

    By default each new thread takes the next of up to eight arenas a core, and each arena keeps what it cannot give
    back. Web draws every page in a new thread: after an attack with long messages it kept 31 MB, with two arenas 24.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def settle_memory() -> None:
    """What is loaded by now stays for good: the garbage collector need not walk through it again and again.

    Full collections stopped a worker's event loop for up to 430 ms, and web's for 240 ms every 2 s, with 300 streams
    (measured). Nearly nothing that a stream makes is cyclic, so rarer ones cost little memory. Call it once or twice:
    what is garbage later, but in a cycle and here now, stays too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def give_back_memory() -> None:
    """Collect what is garbage by now and return free memory to the system, after many sessions have ended.

    Takes some 20 ms. A C library without `malloc_trim` (macOS, musl) gives memory back by itself, or not at all.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
