"""Tests of retries: whether another attempt can help, and when it is made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared import errors
from shared.errors import ProviderError
from shared.settings import load_settings
from workers.answering.retries import FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS, Again, decide, wait_seconds

SETTINGS = load_settings({"NARU_RETRY_SECONDS": "300", "NARU_RETRY_AFTER_LIMIT_SECONDS": "120"})


def provider_errors() -> Iterator[type[ProviderError]]:
    yield from (each for each in ProviderError.__subclasses__() if each.__module__ == errors.__name__)


RETRYABLE = [each for each in provider_errors() if each.retryable]
FINAL = [each for each in provider_errors() if not each.retryable]


def decided(
    error: ProviderError,
    *,
    tries: int = 0,
    broken_streams: int = 0,
    retrying_seconds: float = 0.0,
    had_text: bool = False,
    left_seconds: float = 600.0,
) -> Again | None:
    return decide(
        error,
        SETTINGS,
        tries=tries,
        broken_streams=broken_streams,
        retrying_seconds=retrying_seconds,
        had_text=had_text,
        left_seconds=left_seconds,
    )


@pytest.mark.parametrize("kind", FINAL)
@pytest.mark.parametrize("had_text", [False, True])
def test_permanent_errors_are_not_retried(kind: type[ProviderError], *, had_text: bool) -> None:
    assert decided(kind(retry_after_seconds=1), had_text=had_text) is None


def test_unreadable_reply_is_not_asked_for_again() -> None:
    """Before any text, the next reply would have the same shape, and each may be billed."""
    assert decided(errors.BadStream(retry_after_seconds=1)) is None
    assert decided(errors.BadStream(), had_text=True) == Again(0.0, broken=True)


@pytest.mark.parametrize("kind", [each for each in RETRYABLE if each is not errors.BadStream])
def test_transient_errors_are_retried_for_the_whole_time(kind: type[ProviderError]) -> None:
    for tries, seconds in ((0, 0), (1, 1), (20, 150), (1000, 269)):
        again = decided(kind(), tries=tries, retrying_seconds=seconds)
        assert again is not None, "the number of tries does not count"
        assert not again.broken
    assert decided(kind(), tries=1, retrying_seconds=300) is None
    assert decided(kind(retry_after_seconds=60), retrying_seconds=241) is None, "the wait would end too late"


@pytest.mark.parametrize("kind", RETRYABLE)
def test_broken_stream_is_retried_once_and_at_once(kind: type[ProviderError]) -> None:
    assert decided(kind(), had_text=True, tries=5, retrying_seconds=999) == Again(0.0, broken=True), (
        "it does not count as a try"
    )
    assert decided(kind(), had_text=True, broken_streams=1) is None


@pytest.mark.parametrize("kind", RETRYABLE)
def test_retry_after_is_honoured_once_after_text(kind: type[ProviderError]) -> None:
    again = decided(kind(retry_after_seconds=7), had_text=True)
    assert again == Again(7.0, broken=True)
    assert decided(kind(retry_after_seconds=7), had_text=True, broken_streams=1) is None


def test_requested_wait_is_kept() -> None:
    assert decided(errors.RateLimited(retry_after_seconds=20)) == Again(20.0, broken=False)
    assert decided(errors.RateLimited(retry_after_seconds=-3)) == Again(0.0, broken=False)


@pytest.mark.parametrize(("wait", "left", "waits"), [(120, 600, True), (120.1, 600, False), (60, 60, False)])
def test_wait_beyond_a_limit_is_not_started(wait: float, left: float, *, waits: bool) -> None:
    again = decided(errors.RateLimited(retry_after_seconds=wait), left_seconds=left)
    assert (again is not None) == waits


def test_wait_doubles_up_to_its_limit() -> None:
    for tries in range(12):
        ceiling = min(FIRST_WAIT_SECONDS * 2**tries, LAST_WAIT_SECONDS)
        waits = [wait_seconds(errors.Overloaded(), tries) for _ in range(50)]
        assert ceiling / 2 <= min(waits)
        assert max(waits) <= ceiling
        assert max(waits) - min(waits) > ceiling / 10, "not all at the same moment"
