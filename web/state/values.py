"""The values that the page keeps between runs. `keys.py` has their keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID, uuid4

from shared.conversations import ConversationRow
from shared.people import Owner

DialogKind = Literal["rename", "delete"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence for the person, by its code; `incident_id` is what an operator can look up."""

    code: str
    values: dict[str, Any] = field(default_factory=dict)
    incident_id: str = ""
    is_text_kept: bool = False
    #: The key of a further sentence: what to do.
    advice: str = ""
    id: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True, slots=True)
class Listed:
    """The sidebar's list as last read, as far as the person has scrolled."""

    owner: Owner | None = None
    rows: tuple[ConversationRow, ...] = ()
    has_more: bool = False
    #: Whether the last read failed, because Postgres was away.
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """The fate of the page's questions, for `live/sent.js`. It is kept until the next question, so that an interrupted
    run loses nothing."""

    key: str
    session: str
    accepted: str | None
    returned: dict[str, Any] | None
    fate: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Dialog:
    """A dialog that the page is asked to show, for one conversation."""

    id: str
    kind: DialogKind
    conversation_id: UUID


@dataclass(frozen=True, slots=True)
class Decision:
    """The person's decision in a dialog; `title` is the new name when renaming."""

    dialog: Dialog
    title: str


@dataclass(frozen=True, slots=True)
class Wish:
    """An action that an administrator has to confirm: the action, to whom or what, and its name for the question."""

    action: str
    target: UUID
    name: str
    #: The attempt that was on display, or the new role.
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """The result of an administrator's action, in words."""

    sentence: str
    is_error: bool
    link: str
    id: str
    #: The form below which it is shown; "" for the top of the page.
    near: str = ""
