"""A chat message: one class from the row to the prompt and the page.

The lifecycle and the conversations read messages from Postgres, a provider turns them into its wire form, the page
draws them. May import the tables' values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from shared.tables import Status

Role = Literal["user", "assistant"]


class Part:
    """One part of a message's content. Each kind is a subclass: today text, later files."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TextPart(Part):
    """Text as written; a model's text is Markdown."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEnd:
    """How the request of an answer ended. A claim knows the status only; an opened conversation knows the rest."""

    status: Status
    error_code: str | None = None
    #: The provider's reason to stop, as `Finish` in `workers/providers/base.py` names it.
    finish: str | None = None
    model: str | None = None
    #: The model that the person chose and the code of the reason, where `model` answered instead.
    asked_model: str | None = None
    asked_code: str | None = None
    attempt: int = 0
    #: The first messages of the conversation that the model did not read; None if it read all.
    left_out: int | None = None
    #: When the owner's earlier answer was given, if this is that answer again.
    earlier_answer_at: datetime | None = None
    output_tokens: int | None = None
    #: How long the model thought; None if it did not. It is 0 where nobody knows: the provider reports tokens alone, or
    #: the answer was read again from a call that went on.
    thought_seconds: float | None = None
    has_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `id` and `created_at` are set if it was read for display.

    An answer has the end of its request, and `request_id` where it has `id`.
    """

    role: Role
    parts: tuple[Part, ...]
    end: RequestEnd | None = None
    id: UUID | None = None
    created_at: datetime | None = None
    request_id: UUID | None = None

    @classmethod
    def of_text(cls, role: Role, text: str, *, end: RequestEnd | None = None) -> Self:
        """Return a message whose one part is `text`."""
        return cls(role, (TextPart(text),), end)

    @property
    def text(self) -> str:
        """The text of all text parts, joined; empty where there are none."""
        return "".join([part.text for part in self.parts if isinstance(part, TextPart)])
