"""Whether another attempt can help, and when. Pure.

Waiting is never done in a slot: a request that is to wait goes back to the queue with its `available_at`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from shared.errors import ProviderError
from shared.settings import Settings

FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.5, 30.0
#: After text was shown, whatever broke it off: once more from the beginning, not more often.
MAX_BROKEN_STREAMS = 1


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after `wait_seconds`; `broken` says that it counts as a broken stream."""

    wait_seconds: float
    broken: bool


def decide(
    error: ProviderError, settings: Settings, *, tries: int, broken_streams: int, had_text: bool, left_seconds: float
) -> Again | None:
    """Another attempt, or None when the request fails with this error.

    `tries` and `broken_streams` are what was tried before this attempt; `left_seconds` the time to the deadline.
    """
    if not error.retryable:
        return None
    wait = (error.retry_after_seconds or 0.0) if had_text else wait_seconds(error, tries)
    if wait > settings.retry_after_limit_seconds or wait >= left_seconds:
        return None
    used_up = broken_streams >= MAX_BROKEN_STREAMS if had_text else tries >= settings.max_tries
    return None if used_up else Again(wait, broken=had_text)


def wait_seconds(error: ProviderError, tries: int) -> float:
    """What the provider asked for, else 0.5·2ⁿ s, at most 30, the upper half of it at random."""
    if error.retry_after_seconds is not None:
        return max(error.retry_after_seconds, 0.0)
    ceiling = min(FIRST_WAIT_SECONDS * 2.0 ** min(tries, 10), LAST_WAIT_SECONDS)
    return ceiling / 2 + random.random() * ceiling / 2
