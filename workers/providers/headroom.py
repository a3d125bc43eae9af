"""The limits of a provider, as the headers of a reply report them.

One family of servers sends `x-ratelimit-remaining-requests` and `x-ratelimit-reset-requests` (`1s`, `6m0s`, `20ms`),
the other `anthropic-ratelimit-requests-remaining` and `-reset` (a time in RFC 3339); both send the same for tokens.
Headers that are missing or unreadable say nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
#: Each has a limit of its own.
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")


def rest_in(headers: Mapping[str, str]) -> float:
    """Return for how many seconds nothing at all is left of a limit; 0 if something is, or if the reply does not say.

    The rest of a limit is not compared with the size of a prompt: the next one may be small, and a limit fills up all
    the time. The provider refuses a prompt that is too large for the moment, and bills nothing.
    """
    return max(_rest(headers, kind) for kind in _KINDS)


def _rest(headers: Mapping[str, str], kind: str) -> float:
    left = headers.get(f"x-ratelimit-remaining-{kind}")
    reset = headers.get(f"x-ratelimit-reset-{kind}", "")
    if left is None:
        prefix = f"anthropic-ratelimit-{kind}"
        left, reset = headers.get(f"{prefix}-remaining"), headers.get(f"{prefix}-reset", "")
    try:
        number, seconds = float(left or ""), _seconds_in(reset)
    except ValueError:
        return 0.0
    # Some servers send -1 where they have no limit.
    return max(seconds, 0.0) if 0 <= number < 1 and math.isfinite(seconds) else 0.0


def _seconds_in(text: str) -> float:
    """Return the seconds in `6m0s` or `1.5`, or until a time in RFC 3339. Raises ValueError."""
    if (parts := _PARTS.findall(text)) and not _PARTS.sub("", text):
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        return float(text)
    except ValueError:
        at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
