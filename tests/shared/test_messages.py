"""A message's text: what its text parts hold, and nothing of other kinds of part."""

from __future__ import annotations

from shared.messages import Message, Part, TextPart


class _Picture(Part):
    """A kind of part without text."""


def test_text_is_that_of_the_text_parts() -> None:
    assert Message.of_text("user", "Why?").text == "Why?"
    assert Message("user", (TextPart("a"), _Picture(), TextPart("b"))).text == "ab"
    assert Message("assistant", ()).text == ""
