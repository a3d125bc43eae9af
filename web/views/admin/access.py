"""The right to see this page and to act on it, read from the database each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from shared.errors import NaruError
from shared.people.accounts import Role
from shared.people.refusals import AdminOnly
from shared.people.sessions import SignedIn, read_by_id
from web import state
from web.views import notices
from web.views.frame import Frame


def admin_of(frame: Frame) -> SignedIn:
    """Return the administrator whose page this is, as the session is now. Raises AdminOnly, NotFound and Unavailable.

    Callbacks and fragments call it too: they may run with the frame of a time when somebody was an administrator.
    Without accounts there are no sessions, and so nobody is one.
    """
    owner, session_id = frame.owner, state.session_id()
    found = None if session_id is None else read_by_id(frame.engine, session_id, frame.runtime.settings)
    if found is None or found.role != Role.ADMIN or found.owner != owner:
        raise AdminOnly
    return found


def refreshed(frame: Frame, draw: Callable[[Frame], None], *, seconds: float) -> None:
    """Draw a part of the page, and again every few seconds, for as long as this is an administrator."""

    @st.fragment(run_every=seconds, key=f"admin-{draw.__module__}")
    def part() -> None:
        with sentences(frame):
            admin_of(frame)
            draw(frame)

    part()


@contextmanager
def sentences(frame: Frame) -> Iterator[None]:
    """Draw an error in the block as a sentence."""
    try:
        yield
    except NaruError as error:
        notices.show(frame.words, notices.notice_of(error))
        if isinstance(error, AdminOnly):
            notices.way_to_chats(frame.words)
    except Exception as error:  # noqa: BLE001 - a refresh is a run of its own: nothing else makes this a sentence
        notices.show(frame.words, notices.unforeseen(error))
