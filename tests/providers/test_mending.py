"""Tests of mending text that UTF-8 or Postgres cannot store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.providers.sdk.mending import Mender


def mended(*deltas: str | None) -> str:
    mender = Mender()
    return "".join(mender.mend(delta) for delta in deltas)


def test_mender_joins_a_character_cut_in_two() -> None:
    assert mended("a\ud83d", "\ude00b") == "a😀b"


def test_lone_surrogates_and_nul_are_removed() -> None:
    assert mended("a\0b", None, "", "\ude00", "c") == "ab\ufffdc"
    assert mended("a\ud83d", "b") == "a\ufffdb"


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"))))
def test_valid_text_is_unchanged(deltas: list[str]) -> None:
    assert mended(*deltas) == "".join(deltas)


@given(st.lists(st.text(alphabet=st.characters())))
def test_any_text_becomes_storable(deltas: list[str]) -> None:
    assert "\0" not in mended(*deltas).encode().decode()
