"""The values that the page keeps from run to run. `web/state.py` says under which keys, and for how long."""

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
    id: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True, slots=True)
class Listed:
    """The sidebar's list as it was last read, down to where the person has scrolled."""

    owner: Owner | None = None
    rows: tuple[ConversationRow, ...] = ()
    has_more: bool = False
    #: The last try to read it failed: Postgres was away.
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of the questions of this page, as `live/sent.js` reads it. All of it stays until the next question:
    a run that is cut short loses nothing."""

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
    """What the person decided in a dialog; `title` is what a rename was given."""

    dialog: Dialog
    title: str
