"""The settings of one conversation: instructions for the model, its temperature and its effort.

A person sets them for one conversation, an operator as the defaults of a model (`workers/providers/defaults.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

LONGEST_INSTRUCTIONS = 8_000
#: As many characters of a model's default instructions as the panel shows on a phone.
EXCERPT = 100
#: The range of Chat Completions. That of Messages ends at 1: its adapter sends 1 for a higher value.
COLDEST, WARMEST = 0.0, 2.0
#: How much a reasoning model thinks before it writes.
EFFORTS = ("low", "medium", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """A value that is empty or None is left to the model's own default."""

    instructions: str = ""
    temperature: float | None = None
    effort: str | None = None

    def __bool__(self) -> bool:
        """Whether anything is set."""
        return bool(self.instructions) or self.temperature is not None or self.effort is not None

    def stored(self) -> str | None:
        """Return the JSON for the column `conversation.tuning`; None where nothing is set."""
        return json.dumps(self.values()) if self else None

    def values(self) -> dict[str, Any]:
        """Return what is set, by name; `read` reads it."""
        values = {"temperature": self.temperature, "effort": self.effort, "instructions": self.instructions}
        return {name: value for name, value in values.items() if value not in ("", None)}

    def over(self, defaults: Self) -> Self:
        """Return these settings, with a default for each that is not set."""
        return replace(defaults, **self.values()) if self else defaults

    def excerpt(self) -> Self:
        """Return these settings with the beginning of their instructions."""
        if len(self.instructions) <= EXCERPT:
            return self
        return replace(self, instructions=f"{self.instructions[:EXCERPT].rstrip()}…")

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> Self:
        """Return the tuning in these values. One that this version does not know is left out."""
        values = stored or {}
        temperature, effort = values.get("temperature"), values.get("effort")
        return cls(
            instructions=str(values.get("instructions") or "").strip(),
            temperature=float(temperature) if isinstance(temperature, int | float) else None,
            effort=effort if effort in EFFORTS else None,
        )


NO_TUNING = Tuning()
