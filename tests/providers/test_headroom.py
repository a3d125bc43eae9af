"""Limits in the headers of both families of providers, and in broken headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workers.providers.headroom import rest_in


@pytest.mark.parametrize(
    ("reset", "seconds"), [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("7", 7.0), ("0s", 0.0)]
)
def test_reset_is_read_in_every_form(reset: str, seconds: float) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
    assert rest_in(headers) == seconds


def anthropic(**left: int) -> dict[str, str]:
    """Return Anthropic's headers; every limit is whole again in an hour."""
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    numbers = {"requests": 49, "tokens": 445_000, "input-tokens": 430_000, "output-tokens": 15_000, **left}
    return {
        f"anthropic-ratelimit-{kind}-{name}": value
        for kind, number in numbers.items()
        for name, value in (("remaining", str(number)), ("reset", soon))
    }


@pytest.mark.parametrize("kind", ["requests", "tokens", "input-tokens", "output-tokens"])
def test_provider_rests_only_when_a_limit_is_used_up(kind: str) -> None:
    assert rest_in(anthropic()) == 0
    assert rest_in(anthropic(**{kind: 1})) == 0
    assert 3000 < rest_in(anthropic(**{kind: 0})) <= 3600


def test_small_rest_of_tokens_is_no_pause() -> None:
    """The next prompt may be small, and the allowance of an answer says nothing about the size of a prompt."""
    left = {"x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "6m0s"}
    assert rest_in(left) == 0


def test_number_below_zero_means_no_limit() -> None:
    assert rest_in({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "60s"}) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-requests": "nan", "x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "inf"},
        {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2026-99-99T00:00:00Z"},
    ],
)
def test_unreadable_headers_say_nothing(headers: dict[str, str]) -> None:
    assert rest_in(headers) == 0


def test_time_that_has_passed_is_no_pause() -> None:
    headers = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2020-01-01T00:00:00Z",
    }
    assert rest_in(headers) == 0
