"""Threads that start at the same moment, for races."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests.patience import patient

T = TypeVar("T")


def together(*functions: Callable[[], T]) -> list[T | Exception]:
    """Call all at once, each in a thread; what each returned or raised, in their order."""
    barrier = threading.Barrier(len(functions))

    def start(function: Callable[[], T]) -> T:
        barrier.wait(timeout=patient(10))
        return function()

    outcomes: list[T | Exception] = []
    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(start, function) for function in functions]:
            try:
                outcomes.append(future.result())
            except Exception as error:  # noqa: BLE001 - the test says which it expects
                outcomes.append(error)
    return outcomes
