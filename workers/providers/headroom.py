"""What a provider says is left of its limits: headers of a reply.

One family of servers sends `x-ratelimit-remaining-requests` and `x-ratelimit-reset-requests` (`1s`, `6m0s`, `20ms`),
the other `anthropic-ratelimit-requests-remaining` and `-reset` (a time in RFC 3339); both send the same for tokens.
Headers that are missing or unreadable say nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
#: Tokens may be counted by kind; the scarcest kind counts.
_TOKENS = ("tokens", "input-tokens", "output-tokens")


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of one limit, and the seconds until it is whole again."""

    number: float
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Headroom:
    """What is left of requests and of tokens; None where the provider does not say."""

    requests: Left | None = None
    tokens: Left | None = None

    def pauses(self, tokens: int) -> tuple[float, float]:
        """Return for how many seconds requests, and tokens, do not suffice for a request of this many tokens."""
        return _pause(self.requests, 1), _pause(self.tokens, tokens)


def headroom_in(headers: Mapping[str, str]) -> Headroom | None:
    """Return what the headers of a reply say; None if they say nothing."""
    requests, tokens = _left(headers, "requests"), [_left(headers, kind) for kind in _TOKENS]
    scarcest = min((each for each in tokens if each is not None), key=lambda each: each.number, default=None)
    return None if requests is None and scarcest is None else Headroom(requests, scarcest)


def _pause(left: Left | None, needed: float) -> float:
    return left.reset_seconds if left is not None and left.number < needed else 0.0


def _left(headers: Mapping[str, str], kind: str) -> Left | None:
    number = headers.get(f"x-ratelimit-remaining-{kind}")
    reset = headers.get(f"x-ratelimit-reset-{kind}", "")
    if number is None:
        prefix = f"anthropic-ratelimit-{kind}"
        number, reset = headers.get(f"{prefix}-remaining"), headers.get(f"{prefix}-reset", "")
    try:
        found, seconds = float(number or ""), _seconds_in(reset)
    except ValueError:
        return None
    return Left(found, max(seconds, 0.0)) if math.isfinite(found) and math.isfinite(seconds) else None


def _seconds_in(text: str) -> float:
    """Return the seconds in `6m0s` or `1.5`, or until a time in RFC 3339. Raises ValueError."""
    if (parts := _PARTS.findall(text)) and not _PARTS.sub("", text):
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        return float(text)
    except ValueError:
        at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
