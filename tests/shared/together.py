"""Threads that start at the same moment, for races."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests.patience import patient

T = TypeVar("T")


def together(*functions: Callable[[], T]) -> list[T | Exception]:
    """Call all at once, each in its own thread; return their results or exceptions in order."""
    barrier = threading.Barrier(len(functions))

    def start(function: Callable[[], T]) -> T:
        barrier.wait(timeout=patient(10))
        return function()

    outcomes: list[T | Exception] = []
    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(start, function) for function in functions]:
            try:
                outcomes.append(future.result())
            except Exception as error:  # noqa: BLE001 - the test checks which it expects
                outcomes.append(error)
    return outcomes
