"""The catalogue of one language: sentences with their values, dates and numbers as that language writes them.

The texts are in `en.json` and `ko.json`, one key each, the same keys in both. Korean is 합니다체 everywhere. Which
language a person sees is decided in `web/state.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path

#: Each language by its own name, as it stands in the switch.
LOCALES: Mapping[str, str] = {"en": "English", "ko": "한국어"}
DEFAULT = "en"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@cache
def catalogue(locale: str) -> Mapping[str, str]:
    """All texts of one language."""
    texts: dict[str, str] = json.loads(Path(__file__).with_name(f"{locale}.json").read_text(encoding="utf-8"))
    return texts


def best_locale(*wishes: str | None) -> str:
    """The first wish that we have a catalogue for; a wish may be as long as `ko-KR`."""
    for wish in wishes:
        language = (wish or "").replace("_", "-").split("-", 1)[0].lower()
        if language in LOCALES:
            return language
    return DEFAULT


class Words:
    """One language's voice: `words.t("error.too_long", length=12, limit=10)`."""

    def __init__(self, locale: str) -> None:
        self.locale = locale
        self._texts = catalogue(locale)

    def t(self, key: str, **values: object) -> str:
        """The text of this key with its values filled in; numbers are written as the language does."""
        shown = {name: self.number(value) if isinstance(value, int) else value for name, value in values.items()}
        return self._texts[key].format(**shown)

    def error(self, code: str | None, **values: object) -> str:
        """The sentence of an error's code; a code that this version does not know gets the general one."""
        key = f"error.{code}"
        return self.t(key if key in self._texts else "error.provider", **values)

    def place(self, number: int) -> str:
        """A place in a queue, or the number of a try: 1st, 2nd, 3rd, 4th, 11th."""
        is_teen = 10 < number % 100 < 14
        kind = "other" if is_teen else {1: "one", 2: "two", 3: "few"}.get(number % 10, "other")
        return self.t(f"live.place_{kind}", n=number)

    def group(self, prefix: str) -> dict[str, str]:
        """All texts below a prefix, unfilled, for the browser's part of the page."""
        return {key.removeprefix(prefix): text for key, text in self._texts.items() if key.startswith(prefix)}

    def number(self, value: int) -> str:
        """1,234 (the same in both languages)."""
        return f"{value:,}"

    def time(self, moment: datetime) -> str:
        """A moment as short as it is clear: `Nov 23, 14:05` or `11월 23일 14:05`."""
        if self.locale == "ko":
            return f"{moment.month}월 {moment.day}일 {moment:%H:%M}"
        return f"{_MONTHS[moment.month - 1]} {moment.day}, {moment:%H:%M}"
