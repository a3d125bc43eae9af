"""The catalogue of one language: sentences with placeholders, and the formats of dates and numbers.

`en.json` and `ko.json` hold the texts under the same keys. Korean is 합니다체 everywhere. `web/state/` decides which
language a person sees.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path

#: Each language by its own name, as the language switch shows it.
LOCALES: Mapping[str, str] = {"en": "English", "ko": "한국어"}
DEFAULT = "en"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@cache
def catalogue(locale: str) -> Mapping[str, str]:
    """Return the texts of one language by key."""
    texts: dict[str, str] = json.loads(Path(__file__).with_name(f"{locale}.json").read_text(encoding="utf-8"))
    return texts


def best_locale(*preferred: str | None) -> str:
    """Return the first preferred language that has a catalogue, or English; accepts forms such as `ko-KR`."""
    for each in preferred:
        language = (each or "").replace("_", "-").split("-", 1)[0].lower()
        if language in LOCALES:
            return language
    return DEFAULT


class Words:
    """The texts of one language: `words.t("error.too_long", length=12, limit=10)`."""

    def __init__(self, locale: str) -> None:
        self.locale = locale
        self._texts = catalogue(locale)

    def t(self, key: str, **values: object) -> str:
        """Return the text of this key with its values filled in; integers and times get the language's format."""
        return self._texts[key].format(**{name: self._shown(value) for name, value in values.items()})

    def _shown(self, value: object) -> object:
        if isinstance(value, int):
            return self.number(value)
        return self.time(value) if isinstance(value, datetime) else value

    def error(self, code: str | None, **values: object) -> str:
        """Return the sentence of an error code; an unknown code gets the general one."""
        key = f"error.{code}"
        return self.t(key if key in self._texts else "error.provider", **values)

    def place(self, number: int) -> str:
        """Return an ordinal, for a place in a queue or an attempt's number: 1st, 2nd, 3rd, 4th, 11th."""
        is_teen = 10 < number % 100 < 14
        kind = "other" if is_teen else {1: "one", 2: "two", 3: "few"}.get(number % 10, "other")
        return self.t(f"live.place_{kind}", n=number)

    def group(self, prefix: str) -> dict[str, str]:
        """Return the texts below a prefix, without values, for the page's scripts."""
        return {key.removeprefix(prefix): text for key, text in self._texts.items() if key.startswith(prefix)}

    def number(self, value: int) -> str:
        """Format as 1,234 (the same in both languages)."""
        return f"{value:,}"

    def time(self, moment: datetime) -> str:
        """Format as `Nov 23, 14:05` or `11월 23일 14:05`."""
        if self.locale == "ko":
            return f"{moment.month}월 {moment.day}일 {moment:%H:%M}"
        return f"{_MONTHS[moment.month - 1]} {moment.day}, {moment:%H:%M}"
