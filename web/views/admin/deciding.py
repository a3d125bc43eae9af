"""The actions: confirmed first where they can't be undone, checked again, logged, and told.

Each action is one call into `shared/`. It says what happened: somebody else may have done the same a moment ago.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import streamlit as st

from shared import audit, fleet, lifecycle
from shared.errors import NaruError, NotFound
from shared.people import accounts, sessions
from shared.people.accounts import Role
from shared.people.sessions import SignedIn
from shared.tables import Status
from web import state
from web.state.values import Wish
from web.views import notices
from web.views.admin.access import admin_of
from web.views.admin.showing import plain
from web.views.frame import Frame

log = logging.getLogger(__name__)

#: Does it, and returns the key of the sentence that tells what happened.
Doing = Callable[[Frame, Wish], str]


@dataclass(frozen=True, slots=True)
class Action:
    """The effect of a wish of this name, and the keys of its question and of the button that confirms it."""

    do: Doing
    question: str
    button: str


def ask(frame: Frame, wish: Wish) -> None:
    """Ask for a confirmation. Call this from a callback only."""
    with _told(frame):
        admin_of(frame)
        state.wish(wish)


@dataclass(frozen=True, slots=True)
class Done:
    """The result as a sentence, and a link that is shown once. `is_error`: nothing was done."""

    sentence: str | None
    link: str = ""
    is_error: bool = False
    #: The form below which it is said; "" for the top of the page.
    near: str = ""


def act(frame: Frame, name: str, do: Callable[[Frame, SignedIn], Done]) -> None:
    """Do something that needs no confirmation. Call this from a callback only."""
    with _told(frame):
        admin = admin_of(frame)
        with audit.acting(admin.owner.key, state.client()):
            done = do(frame, admin)
        if not done.is_error:
            log.info("administrator acted", extra={"action": name, "owner": admin.owner.key})
        state.tell(done.sentence, link=done.link, is_error=done.is_error, near=done.near)


def draw(frame: Frame) -> None:
    """Draw the question that waits for an answer, and what happened last."""
    t = frame.words.t
    with st.container(key="admin-asks"):
        wish = state.wished()
        draw_told(frame)
        if wish is None:
            return
        action = ACTIONS[wish.action]
        st.html(f'<p class="naru-notice" role="alert">{plain(t(action.question, name=wish.name))}</p>')
        with st.container(horizontal=True, gap="small"):
            st.button(t(action.button), key="admin-yes", type="primary", on_click=partial(_confirmed, frame, wish))
            st.button(t("dialog.cancel"), key="admin-no", on_click=state.forget_wish)


def draw_told(frame: Frame, *, near: str = "") -> None:
    """Draw what happened last, if it is about the form `near`."""
    told = state.told()
    if told is None or told.near != near:
        return
    kind, role = ("naru-notice", "alert") if told.is_error else ("naru-done", "status")
    st.html(f'<p class="{kind}" role="{role}">{plain(told.sentence)}</p>')
    if told.link:
        label = plain(frame.words.t("admin.link"))
        st.html(f'<p><code class="naru-token" aria-label="{label}">{plain(told.link)}</code></p>')


def _confirmed(frame: Frame, wish: Wish) -> None:
    with _told(frame):
        admin = admin_of(frame)
        state.forget_wish()
        with audit.acting(admin.owner.key, state.client()):
            key = ACTIONS[wish.action].do(frame, wish)
        what = {"action": wish.action, "target": str(wish.target), "outcome": key.partition(".")[2]}
        log.info("administrator acted", extra={**what, "owner": admin.owner.key})
        state.tell(frame.words.t(key, name=wish.name))


@contextmanager
def _told(frame: Frame) -> Iterator[None]:
    """Tell an error in the block as a sentence, since the callback's run goes on to draw."""
    try:
        yield
    except NaruError as error:
        state.forget_wish()
        state.tell(notices.text(frame.words, notices.notice_of(error)), is_error=True)
    except Exception as error:  # noqa: BLE001 - a callback has no other place where this becomes a sentence
        state.forget_wish()
        notice = notices.unforeseen(error)
        number = frame.words.t("notice.id", id=notice.incident_id)
        state.tell(f"{notices.text(frame.words, notice)} {number}", is_error=True)


def _cancel(frame: Frame, wish: Wish) -> str:
    try:
        status = lifecycle.stop_any(frame.engine, wish.target)
    except NotFound:
        return "admin.request_gone"
    return {Status.CANCELLED: "admin.cancelled", Status.RUNNING: "admin.stop_asked"}.get(status, "admin.had_ended")


def _requeue(frame: Frame, wish: Wish) -> str:
    taken = lifecycle.take_from_worker(frame.engine, wish.target, attempt=int(wish.detail))
    return "admin.requeued" if taken else "admin.runs_no_more"


def _drain(frame: Frame, wish: Wish) -> str:
    return "admin.drain_asked" if fleet.request_drain(frame.engine, wish.target) else "admin.drain_known"


def _sign_out(frame: Frame, wish: Wish) -> str:
    sessions.end_all(frame.engine, wish.target)
    return "admin.signed_out"


def _disable(frame: Frame, wish: Wish) -> str:
    accounts.disable(frame.engine, wish.target)
    return "admin.disabled"


def _enable(frame: Frame, wish: Wish) -> str:
    accounts.enable(frame.engine, wish.target)
    return "admin.enabled"


def _give_role(frame: Frame, wish: Wish) -> str:
    accounts.set_role(frame.engine, wish.target, Role(wish.detail))
    return "admin.role_given"


ACTIONS: Mapping[str, Action] = {
    "cancel": Action(_cancel, "admin.cancel_sure", "admin.cancel"),
    "requeue": Action(_requeue, "admin.requeue_sure", "admin.requeue"),
    "drain": Action(_drain, "admin.drain_sure", "admin.drain"),
    "sign_out": Action(_sign_out, "admin.sign_out_sure", "admin.sign_out"),
    "disable": Action(_disable, "admin.disable_sure", "admin.disable"),
    "enable": Action(_enable, "admin.enable_sure", "admin.enable"),
    "role": Action(_give_role, "admin.role_sure", "admin.give_role"),
}
