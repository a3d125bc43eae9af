"""Makes a model's text storable: JSON may carry what neither UTF-8 nor Postgres can.

Some servers cut an emoji in two and send its halves (`\\ud83d`, `\\ude00`) in two deltas; Postgres stores no
NUL. A half whose other half never comes is dropped. No other change is made to what a model wrote.
"""

from __future__ import annotations


class Mender:
    """Mends one stream's texts; keeps a half character until its other half comes."""

    def __init__(self) -> None:
        self._half = ""

    def mend(self, text: str | None) -> str:
        """`text` without NUL and lone surrogates; may be empty."""
        if not text:
            return ""
        if text.isascii() and "\0" not in text and not self._half:
            return text
        text = self._half + text.replace("\0", "")
        self._half = ""
        try:
            text.encode()
        except UnicodeEncodeError:
            if "\ud800" <= text[-1] <= "\udbff":
                text, self._half = text[:-1], text[-1]
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text
