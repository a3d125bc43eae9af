"""The owner of conversations and requests. Every row is reached through its owner only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Owner:
    """`kind` says what the owner is: `person` (an account), `browser` (a guest, known by a cookie) or `terminal`
    (`naru ask`).

    `id` tells owners of one kind apart; it is empty where a kind has one owner only. Kinds are an open set: while a new
    version is rolled out, an old process must be able to compare owners of a kind that it does not know.
    """

    kind: str
    id: str = ""

    @classmethod
    def browser(cls, browser_id: UUID) -> Self:
        """Return the guest whose cookie holds `browser_id`."""
        return cls("browser", str(browser_id))

    @classmethod
    def person(cls, person_id: UUID) -> Self:
        """Return the owner who has this account."""
        return cls("person", str(person_id))

    @classmethod
    def terminal(cls) -> Self:
        """Return the owner of the conversations of `naru ask`."""
        return cls("terminal")

    @classmethod
    def from_key(cls, key: str) -> Self:
        """Return the owner with this key. Accepts any text: a malformed row must not stop a sweep over all rows."""
        kind, separator, owner_id = key.partition(":")
        return cls(kind, owner_id) if owner_id else cls(kind + separator)

    @property
    def key(self) -> str:
        """The text in the columns `owner_id`: `person:<uuid>`, `browser:<uuid>`, `terminal`."""
        return f"{self.kind}:{self.id}" if self.id else self.kind

    def __str__(self) -> str:
        return self.key
