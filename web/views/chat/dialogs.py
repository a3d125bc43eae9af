"""The texts of the rename and delete dialogs, and the changes that they make.

`web/live/dialog.js` shows the dialogs, because Streamlit's own close at the next run of the page and lose the typed
text. `listing.py` draws the menu that opens them.
"""

from __future__ import annotations

from typing import Any

from shared import audit, conversations, logs
from shared.conversations import Opened
from shared.errors import NaruError
from web import state
from web.markdown.bounds import strip_bidi_controls
from web.views import notices
from web.views.frame import Frame


def shown(frame: Frame, opened: Opened) -> dict[str, Any] | None:
    """Return the dialog to show, in the person's language; None if none was requested for this conversation."""
    asked, t = state.dialog(), frame.words.t
    if asked is None or asked.conversation_id != opened.id or not opened.exists:
        return None
    title = strip_bidi_controls(opened.title)
    words = (
        {"title": t("rename.title"), "label": t("rename.label"), "confirm": t("rename.save"), "value": opened.title}
        if asked.kind == "rename"
        else {
            "title": t("delete.title"),
            "text": t("delete.text", title=title),
            "confirm": t("delete.confirm"),
        }
    )
    return {"id": asked.id, "kind": asked.kind, "cancel": t("dialog.cancel"), **words}


def decide(frame: Frame) -> None:
    """Rename or delete. On an error the dialog stays open with the typed text, and shows the error."""
    decision = state.decision()
    if decision is None:
        return
    asked, error = decision.dialog, ""
    try:
        if asked.kind == "rename":
            conversations.rename(frame.engine, asked.conversation_id, owner=frame.owner, title=decision.title)
        else:
            with audit.acting(frame.owner.key, state.client()), logs.bound(**state.log_ids()):
                conversations.delete(frame.engine, asked.conversation_id, owner=frame.owner)
            if asked.conversation_id == state.conversation_id():
                state.leave_conversation()
    except NaruError as refused:
        error = notices.text(frame.words, notices.notice_of(refused))
    state.end_dialog(asked, error=error)
