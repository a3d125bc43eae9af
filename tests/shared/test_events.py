"""The entries of a live stream: what is written is read, and what is not ours is left."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.live.events import Event, Kind, from_fields, key_of, to_fields

EVENTS = st.builds(Event, st.sampled_from(Kind), st.integers(1, 9), st.integers(0, 10**6), st.text())


@given(EVENTS)
def test_what_is_written_is_read(event: Event) -> None:
    as_redis_gives_it = {name: str(value) for name, value in to_fields(event).items()}
    assert from_fields(as_redis_gives_it) == event


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"k": "d", "a": "1", "o": "0"},
        {"k": "z", "a": "1", "o": "0", "t": ""},
        {"k": "d", "a": "one", "o": "0", "t": ""},
    ],
)
def test_what_is_not_ours_is_no_event(fields: dict[str, str]) -> None:
    assert from_fields(fields) is None


def test_the_key_names_the_request_below_our_prefix() -> None:
    assert key_of(UUID(int=1)) == "naru:live:00000000-0000-0000-0000-000000000001"
