"""What providers say is left of their limits, in the headers of both families and in broken ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workers.providers.headroom import Headroom, Left, headroom_in

SOON = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("reset", "seconds"), [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("7", 7.0), ("0s", 0.0)]
)
def test_reset_is_read_in_every_form(reset: str, seconds: float) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
    assert headroom_in(headers) == Headroom(requests=Left(0.0, seconds))


def test_scarcest_kind_of_tokens_counts() -> None:
    headers = {
        "anthropic-ratelimit-requests-remaining": "3",
        "anthropic-ratelimit-requests-reset": SOON,
        "anthropic-ratelimit-input-tokens-remaining": "9000",
        "anthropic-ratelimit-input-tokens-reset": SOON,
        "anthropic-ratelimit-output-tokens-remaining": "400",
        "anthropic-ratelimit-output-tokens-reset": SOON,
    }
    found = headroom_in(headers)
    assert found is not None
    assert found.tokens is not None
    assert found.tokens.number == 400
    requests, tokens = found.pauses(500)
    assert requests == 0
    assert 3000 < tokens <= 3600
    assert found.pauses(400) == (0.0, 0.0)


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
    assert headroom_in(headers) is None


def test_time_that_has_passed_is_no_pause() -> None:
    headers = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2020-01-01T00:00:00Z",
    }
    found = headroom_in(headers)
    assert found is not None
    assert found.pauses(1) == (0.0, 0.0)
