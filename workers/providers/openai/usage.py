"""Reads the counts of tokens that OpenAI's two wire formats report."""

from __future__ import annotations

from typing import Any

from workers.providers.base import Usage

#: Above any real count, and within Postgres's integer.
_MOST_TOKENS = 2**31 - 1


def usage_in(usage: Any, of_input: str, of_output: str) -> Usage | None:
    """Return the counts; None if they are no counts.

    The arguments name the fields of both counts. The details are in fields of the same names with `_details`.
    """
    try:
        return Usage(
            input_tokens=_count(usage.get(of_input)),
            output_tokens=_count(usage.get(of_output)),
            cached_input_tokens=_detail(usage, f"{of_input}_details", "cached_tokens"),
            reasoning_tokens=_detail(usage, f"{of_output}_details", "reasoning_tokens"),
        )
    except (AttributeError, ValueError):
        return None


def _detail(usage: Any, of: str, name: str) -> int:
    details = usage.get(of)
    try:
        return _count(details.get(name)) if isinstance(details, dict) else 0
    except ValueError:
        return 0


def _count(value: object) -> int:
    """Return a count of tokens. Raises ValueError for anything else."""
    if value is None:
        return 0
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
        return int(value)
    raise ValueError("not a count of tokens")
