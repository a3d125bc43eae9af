"""Decides whether a failed attempt is repeated, and when. Pure.

A request never waits in a slot: it goes back to the queue with its `available_at`.

A reply that could not be understood from its beginning is not asked for again. Its shape comes from the server's
software or from a wrong address, so the next reply would have it too, and the provider may bill each. After text, a
reply that turns unreadable was damaged on the way: it is repeated once, like any other broken stream.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from shared.errors import BadStream, ProviderError
from shared.settings import Settings

FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.5, 30.0
#: An answer that broke off after text was shown is repeated this many times, from the beginning.
MAX_BROKEN_STREAMS = 1


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after `wait_seconds`. With `broken`, the attempt counts as a broken stream and not as a try."""

    wait_seconds: float
    broken: bool


def decide(
    error: ProviderError,
    settings: Settings,
    *,
    tries: int,
    broken_streams: int,
    retrying_seconds: float,
    had_text: bool,
    left_seconds: float,
) -> Again | None:
    """Return when to try again, or None when the request fails with this error.

    `tries` and `broken_streams` count the earlier attempts; `retrying_seconds` is the time since the first of `tries`,
    and `left_seconds` the time to the deadline.
    """
    if not error.retryable or (isinstance(error, BadStream) and not had_text):
        return None
    wait = (error.retry_after_seconds or 0.0) if had_text else wait_seconds(error, tries)
    if wait > settings.retry_after_limit_seconds or wait >= left_seconds:
        return None
    is_too_late = retrying_seconds + wait > settings.retry_seconds
    used_up = broken_streams >= MAX_BROKEN_STREAMS if had_text else is_too_late
    return None if used_up else Again(wait, broken=had_text)


def wait_seconds(error: ProviderError, tries: int) -> float:
    """Return the wait that the provider asks for, else a random one: 50 to 100% of min(0.5·2ⁿ, 30) s."""
    if error.retry_after_seconds is not None:
        return max(error.retry_after_seconds, 0.0)
    ceiling = min(FIRST_WAIT_SECONDS * 2.0 ** min(tries, 10), LAST_WAIT_SECONDS)
    return ceiling / 2 + random.random() * ceiling / 2
