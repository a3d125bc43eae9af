"""Tests that the tree of errors matches the drawing in its module's docstring."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from shared import errors
from shared.errors import NaruError, ProviderError, Refused, StillRunning, TooLong


def descendants(of: type[NaruError]) -> Iterator[type[NaruError]]:
    for each in of.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from descendants(each)


ALL: list[type[NaruError]] = [NaruError, *descendants(NaruError)]
PROVIDER = list(descendants(ProviderError))


def drawn(after: str, before: str) -> set[str]:
    """Return the class names between two words of the drawing."""
    tree = errors.__doc__ or ""
    return set(re.findall(r"\b[A-Z]\w+", tree.split(after, 1)[1].split(before, 1)[0]))


def test_module_drawing_names_each_error_in_place() -> None:
    assert {each.__name__ for each in PROVIDER if each.retryable} == drawn("retryable ", "└── final")
    assert {each.__name__ for each in PROVIDER if not each.retryable} == drawn("final ", "`code`")
    refusals = drawn("Refused ", "└── ProviderError") - {"Postgres"}
    assert {each.__name__ for each in descendants(Refused)} == refusals


def test_only_provider_errors_are_retryable() -> None:
    assert not [each for each in ALL if each.retryable and not issubclass(each, ProviderError)]


def test_error_codes_are_unique() -> None:
    codes = [each.code for each in ALL] + [errors.DEADLINE, errors.WORKER_LOST]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", [each for each in ALL if each is not TooLong])
def test_error_text_defaults_to_its_docstring(kind: type[NaruError]) -> None:
    assert str(kind()) == (kind.__doc__ or "").splitlines()[0]
    assert str(kind()).endswith(".")


def test_errors_carry_their_details() -> None:
    error = errors.RateLimited("slow down", retry_after_seconds=2.5, provider_request_id="req_1")
    assert (str(error), error.retry_after_seconds, error.provider_request_id) == ("slow down", 2.5, "req_1")
    assert errors.RateLimited().retry_after_seconds is None
    assert str(TooLong(12, 10)) == "The question has 12 characters; the limit is 10."
    assert StillRunning().request_id is None
