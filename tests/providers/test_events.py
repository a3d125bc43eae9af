"""Tests of parsing server-sent events, in whatever pieces their bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.sdk import events
from workers.providers.sdk.events import EventBuffer

WHOLE = b'data: {"a": 1}\n\n: a comment\n\nevent: ping\ndata: two\ndata: lines\n\nid: 7\n\ndata:\n\ndata:[DONE]\n\n'
DATA = [b'{"a": 1}', b"two\nlines", b"[DONE]"]


def all_of(pieces: list[bytes]) -> list[bytes]:
    buffer = EventBuffer()
    return [data for piece in pieces for data in buffer.feed(piece)]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["LF", "CR LF", "CR"])
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_parser_accepts_any_chunking(ending: bytes, cuts: list[int]) -> None:
    # The last CR may be half of a CR LF; the start of a comment shows that it is not.
    text = WHOLE.replace(b"\n", ending) + b":"
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert all_of([text[start:end] for start, end in pairwise(bounds)]) == DATA


def test_parser_ignores_an_unfinished_event() -> None:
    assert all_of([b"data: whole\n\ndata: cut\n"]) == [b"whole"]


def test_event_buffer_refuses_an_event_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LONGEST_EVENT_BYTES", 1000)
    buffer = EventBuffer()
    buffer.feed(b"data: " + b"x" * 900)
    with pytest.raises(ValueError, match="without an end"):
        buffer.feed(b"x" * 900)
