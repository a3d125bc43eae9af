"""Tests of folding a stream's entries into text: any delivery gives a prefix of one attempt's text."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.following.text import MAX_EARLY, LiveText
from shared.live.events import Event, Kind, from_fields, to_value

#: Includes characters that browsers and Python count differently.
WORDS = st.lists(st.text(alphabet="aé나🙂👩‍👩‍👧\n ", min_size=1, max_size=6), max_size=12)


def events_of(attempt: int, words: list[str], snapshots_at: frozenset[int] = frozenset()) -> list[Event]:
    """Return the entries that a worker sends for one attempt."""
    made, text = [Event(Kind.START, attempt)], ""
    for number, word in enumerate(words):
        made.append(Event(Kind.THOUGHT, attempt, len(text), str(1000 * number)))
        made.append(Event(Kind.DELTA, attempt, len(text), word))
        text += word
        if number in snapshots_at:
            made.append(Event(Kind.SNAPSHOT, attempt, 0, text))
    return made


@dataclass
class Run:
    """The entries that reach the reader, and the complete text of each attempt."""

    entries: list[Event]
    texts: dict[int, str]


@st.composite
def mangled_runs(draw: st.DrawFn) -> Run:
    """Draw attempts whose entries are lost, repeated and shuffled."""
    attempts = draw(st.lists(WORDS, min_size=1, max_size=3))
    snapshots = draw(st.frozensets(st.integers(0, 11), max_size=3))
    sent = [event for number, words in enumerate(attempts, 1) for event in events_of(number, words, snapshots)]
    entries = draw(st.lists(st.sampled_from(sent), max_size=60)) + draw(st.permutations(sent))
    kept = draw(st.integers(0, len(entries)))
    return Run(entries[:kept], {number: "".join(words) for number, words in enumerate(attempts, 1)})


@given(mangled_runs())
@settings(max_examples=400, deadline=None)
def test_any_delivery_shows_a_prefix_of_one_attempt(run: Run) -> None:
    live = LiveText()
    newest = 0
    for event in run.entries:
        live.fold(event)
        newest = max(newest, event.attempt)
        assert live.attempt == newest
        shown = live.since(0)
        assert run.texts[newest].startswith(shown)
        assert live.length == len(shown)
        for cut in {0, live.length // 3, live.length // 2, live.length}:
            assert live.since(cut) == shown[cut:]


@given(WORDS, st.randoms())
@settings(max_examples=200, deadline=None)
def test_entries_in_any_order_make_the_complete_text(words: list[str], random: object) -> None:
    events = events_of(1, words) * 2
    random.shuffle(events)  # type: ignore[attr-defined]
    live = LiveText()
    for event in events:
        live.fold(event)
    assert live.since(0) == "".join(words)
    assert live.thought_seconds == (len(words) - 1 if words else None)
    assert not live.is_thinking


def test_model_thinks_until_text_follows_the_last_thought() -> None:
    live = LiveText()
    live.start(1)
    assert (live.is_thinking, live.thought_seconds) == (False, None)
    assert live.thought(1, 0, "1500")
    assert (live.is_thinking, live.thought_seconds) == (True, 1.5)
    assert not live.thought(1, 0, "900"), "an entry that is read again moves no clock back"
    live.delta(1, 0, "one ")
    assert (live.is_thinking, live.thought_seconds) == (False, 1.5)
    assert live.thought(1, 4, "2000"), "it thinks again"
    assert live.is_thinking
    assert live.start(2)
    assert (live.is_thinking, live.thought_seconds) == (False, None)
    assert not live.thought(1, 0, "9000"), "of an older attempt"
    assert not live.thought(2, 0, "x")


def test_text_after_a_gap_waits_for_the_snapshot() -> None:
    live = LiveText()
    assert live.delta(1, 0, "one ")
    assert not live.delta(1, 8, "three ")
    assert live.since(0) == "one "
    assert live.whole(1, "one two "), "a checkpoint closes the gap"
    assert live.since(0) == "one two three "
    assert not live.whole(1, "one "), "an older snapshot removes nothing"


def test_newer_attempt_replaces_an_older_one() -> None:
    live = LiveText()
    live.delta(2, 0, "second")
    assert not live.delta(1, 0, "first and longer")
    assert live.start(3)
    assert (live.attempt, live.since(0)) == (3, "")


def test_foreign_entries_are_ignored() -> None:
    assert from_fields({"d": "x 0 "}) is None
    live = LiveText()
    assert not live.delta(1, -3, "abcdef")
    assert live.length == 0
    event = Event(Kind.DELTA, 1, 2, "나루")
    assert from_fields({event.kind.value: to_value(event)}) == event


def test_live_text_bounds_early_deltas() -> None:
    live = LiveText()
    for offset in range(1, 3 * MAX_EARLY):
        live.delta(1, offset, "x")
    assert len(live._early) == MAX_EARLY


def test_following_costs_the_new_text_only() -> None:
    """With 100,000 characters in 20,000 deltas, copying all text for each delta would be some gigabytes."""
    live, began = LiveText(), time.process_time()
    for number in range(20_000):
        live.delta(1, 5 * number, "나루 ab")
        assert live.since(5 * number) == "나루 ab"
    assert live.length == 100_000
    assert time.process_time() - began < 5
