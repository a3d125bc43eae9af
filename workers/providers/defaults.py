"""The defaults of models, from providers.toml. They hold in each chat where the person has set nothing else.

    [defaults."gateway/gpt-*"]
    temperature = 0.2
    effort = "low"
    instructions = "Answer in Korean."

The name is a model's, or a pattern over the models of one provider.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase, translate
from typing import Any

from shared.tuning import COLDEST, EFFORTS, LONGEST_INSTRUCTIONS, WARMEST, Tuning
from workers.providers.fallbacks import complaint_of_model

MOST_TABLES = 100
KEYS = ("temperature", "effort", "instructions")
#: Postgres cannot store the first one, and no instruction needs the others.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Defaults:
    """The tables by name, without a mistake."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.tables = tables or {}
        self._patterns = [(name, re.compile(translate(name)).match) for name in sorted(self.tables, key=len)]
        #: The settings by the tables that they come from: thousands of models share a few.
        self._made: dict[tuple[str, ...], Tuning] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Defaults) and self.tables == other.tables

    __hash__ = None  # type: ignore[assignment]

    def of(self, model: str) -> Tuning:
        """Return the defaults of `provider/model`.

        Each value comes from the model's own table or, if that has none, from the longest pattern that has one.
        """
        own = [model] if model in self.tables else []
        names = (*(name for name, matches in self._patterns if name != model and matches(model)), *own)
        if names not in self._made:
            merged = {key: value for name in names for key, value in self.tables[name].items()}
            self._made[names] = Tuning.read(merged)
        return self._made[names]


def covers(name: str, model: str) -> bool:
    """Whether the table of this name is about `provider/model`."""
    return name == model or fnmatchcase(model, name)


def mistakes(tables: object, providers: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each mistake in [defaults]: the keys that lead to it, and what is wrong."""
    if not isinstance(tables, dict):
        yield (), 'defaults is not a table. Write [defaults."provider/model"] and its keys below'
        return
    if len(tables) > MOST_TABLES:
        yield (), f"there are {len(tables)} tables of defaults; the most is {MOST_TABLES}"
    for model, table in tables.items():
        if model in providers:
            yield (model,), f'{model} is not provider/model. Write [defaults."{model}/*"] for all of its models'
        elif why := complaint_of_model(model, providers):
            yield (model,), why
        elif not isinstance(table, dict) or not table:
            yield (model,), f"there is no default. Write one of {', '.join(KEYS)} below"
        else:
            yield from (((model, key), why) for key, value in table.items() if (why := _complaint(key, value)))


def _complaint(key: str, value: object) -> str:
    if key == "temperature":
        if isinstance(value, bool) or not isinstance(value, int | float) or not COLDEST <= value <= WARMEST:
            return f"temperature is not a number from {COLDEST:g} to {WARMEST:g}"
    elif key == "effort":
        if value not in EFFORTS:
            return f"effort is not one of {', '.join(EFFORTS)}"
    elif key == "instructions":
        if not isinstance(value, str) or len(value) > LONGEST_INSTRUCTIONS:
            return f"instructions is not a text of at most {LONGEST_INSTRUCTIONS:,} characters"
        if _CONTROLS.search(value):
            return "instructions holds a control character. Remove it"
    else:
        return f"there is no key {key[:60]!r}. There are {', '.join(KEYS)}"
    return ""
