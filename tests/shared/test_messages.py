"""Tests of a message's text: it joins the text parts and ignores other parts."""

from __future__ import annotations

from shared.messages import Message, Part, TextPart


class _Picture(Part):
    """A kind of part without text."""


def test_message_text_joins_its_text_parts() -> None:
    assert Message.of_text("user", "Why?").text == "Why?"
    assert Message("user", (TextPart("a"), _Picture(), TextPart("b"))).text == "ab"
    assert Message("assistant", ()).text == ""
