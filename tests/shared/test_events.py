"""Tests of a live stream's entries: they survive a round trip, and foreign entries are rejected."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.live.events import Event, Kind, from_fields, key_of, to_value

EVENTS = st.builds(Event, st.sampled_from(Kind), st.integers(1, 9), st.integers(0, 10**6), st.text())


@given(EVENTS)
def test_events_survive_a_round_trip(event: Event) -> None:
    assert from_fields({event.kind.value: to_value(event)}) == event


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"d": "1 0"},
        {"z": "1 0 text"},
        {"d": "one 0 text"},
        {"d": "1 0 text", "e": "1 0 succeeded"},
    ],
)
def test_from_fields_rejects_foreign_entries(fields: dict[str, str]) -> None:
    assert from_fields(fields) is None


def test_key_is_our_prefix_and_the_request_id() -> None:
    assert key_of(UUID(int=1)) == "naru:live:00000000-0000-0000-0000-000000000001"
