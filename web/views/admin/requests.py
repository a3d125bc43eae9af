"""The requests by state, and the timeline of one. Nothing that anybody wrote is here."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from uuid import UUID

import streamlit as st

from shared.errors import NotFound
from shared.operating.requests import AttemptThen, RequestNow, Timeline, Which, requests_now, timeline
from shared.tables import ACTIVE, Status
from shared.words import Words
from web import state
from web.state.values import Wish
from web.views.admin import deciding
from web.views.admin.showing import clock, owner, plain, short, since
from web.views.frame import Frame

LISTS = {
    Which.RUNNING: "admin.list_running",
    Which.QUEUED: "admin.list_queued",
    Which.FAILED: "admin.list_failed",
    Which.ENDED: "admin.list_ended",
}
STATUSES = {
    Status.QUEUED: "admin.status_queued",
    Status.RUNNING: "admin.status_running",
    Status.SUCCEEDED: "admin.status_succeeded",
    Status.FAILED: "admin.status_failed",
    Status.CANCELLED: "admin.status_cancelled",
}


def draw(frame: Frame) -> None:
    """Draw the timeline of the opened request, and a list."""
    t = frame.words.t
    _opened(frame)
    st.segmented_control(
        t("admin.requests"),
        [which.value for which in Which if which in LISTS],
        key=state.ADMIN_LIST,
        default=Which.RUNNING.value,
        format_func=lambda value: t(LISTS[Which(value)]),
        label_visibility="collapsed",
        required=True,
    )
    found = requests_now(frame.engine, _which())
    with st.container(key="admin-requests"):
        if not found:
            st.html(f"<p>{plain(t('admin.no_requests'))}</p>")
        for each in found:
            _row(frame, each)


def find(frame: Frame) -> None:
    """Draw the box in which a request is found by its id, as a log line or a person names it."""
    t = frame.words.t
    st.text_input(t("admin.find_request"), key=state.ADMIN_FIND_REQUEST, max_chars=64, on_change=partial(_find, frame))


def _find(frame: Frame) -> None:
    def search(frame: Frame, _: object) -> deciding.Done:
        given = state.chosen(state.ADMIN_FIND_REQUEST, "").strip()
        if not given:
            return deciding.Done(None)
        try:
            state.open_request(timeline(frame.engine, UUID(given)).request.id)
        except (ValueError, NotFound):
            return deciding.Done(frame.words.t("admin.request_unknown"))
        state.clear(state.ADMIN_FIND_REQUEST)
        return deciding.Done(None)

    deciding.act(frame, "find_request", search)


def _which() -> Which:
    try:
        return Which(state.chosen(state.ADMIN_LIST, Which.RUNNING.value))
    except ValueError:
        return Which.RUNNING


def _row(frame: Frame, request: RequestNow) -> None:
    words, t = frame.words, frame.words.t
    with st.container(key=f"admin-row-{request.id}", horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            short(request.id),
            key=f"admin-open-{request.id}",
            help=None,
            type="tertiary",
            on_click=partial(state.open_request, request.id),
        )
        parts = [owner(request), request.model]
        if request.place is not None:
            parts.append(t("live.queued", place=words.place(request.place)))
        if request.status is Status.RUNNING:
            parts.append(t("admin.attempt", place=words.place(request.attempt)))
        if request.wait_code:
            parts.append(request.wait_code)
        if request.is_stop_requested and request.status is Status.RUNNING:
            parts.append(t("live.stopping"))
        if request.ended_at is not None:
            parts += [t(STATUSES[request.status]), t("admin.ago", time=since(words, request.ended_at))]
        else:
            parts.append(t("admin.asked_ago", time=since(words, request.created_at)))
        reason = f" · {words.error(request.error_code)}" if request.error_code else ""
        code = f'<code class="naru-code">{plain(request.error_code)}</code>' if request.error_code else ""
        st.html(
            f'<div class="naru-line"><span>{plain(" · ".join(parts))}</span>{code}<span>{plain(reason)}</span></div>'
        )


def _opened(frame: Frame) -> None:
    request_id = state.opened_request()
    if request_id is None:
        return
    t = frame.words.t
    with st.container(key="admin-timeline", border=True):
        try:
            found = timeline(frame.engine, request_id)
        except NotFound:
            st.html(f"<p>{plain(t('admin.request_gone'))}</p>")
        else:
            st.html(_timeline(frame.words, found))
            _actions(frame, found.request)
        st.button(t("admin.close"), key="admin-close", on_click=partial(state.open_request, None))


def _actions(frame: Frame, request: RequestNow) -> None:
    t = frame.words.t
    if request.status not in ACTIVE:
        return
    with st.container(horizontal=True, gap="small"):
        cancel = Wish("cancel", request.id, short(request.id))
        st.button(t("admin.cancel"), key="admin-cancel", on_click=partial(deciding.ask, frame, cancel))
        if request.status is Status.RUNNING:
            requeue = Wish("requeue", request.id, short(request.id), str(request.attempt))
            st.button(t("admin.requeue"), key="admin-requeue", on_click=partial(deciding.ask, frame, requeue))


def _timeline(words: Words, found: Timeline) -> str:
    request = found.request
    facts = [owner(request), request.model, request.lane, words.t(STATUSES[request.status])]
    if found.output_tokens is not None:
        values = {
            "input": found.input_tokens or 0,
            "output": found.output_tokens,
            "cached": found.cached_input_tokens or 0,
        }
        facts.append(words.t("admin.tokens_of", **values))
    events = sorted(_events(words, found), key=lambda event: event[0])
    lines = "".join(f"<li><time>{plain(clock(when))}</time><span>{plain(what)}</span></li>" for when, what in events)
    ids = f"{request.id}{f' · {found.http_request_id}' if found.http_request_id else ''}"
    return (
        f'<h3 class="naru-section">{plain(words.t("admin.request"))} <code>{plain(ids)}</code></h3>'
        f"<p>{plain(' · '.join(filter(None, facts)))}</p><ol class='naru-timeline'>{lines}</ol>"
    )


def _events(words: Words, found: Timeline) -> list[tuple[datetime, str]]:
    t, request = words.t, found.request
    events = [(request.created_at, t("admin.event_asked"))]
    for attempt in found.attempts:
        events += _events_of(words, attempt)
    if found.stop_requested_at is not None:
        events.append((found.stop_requested_at, t("admin.event_stop")))
    if request.first_token_at is not None:
        events.append((request.first_token_at, t("admin.event_first")))
    if request.status is Status.QUEUED and found.attempts:
        events.append((found.available_at, t("admin.event_due")))
    if request.ended_at is not None:
        reason = f" · {request.error_code} · {words.error(request.error_code)}" if request.error_code else ""
        events.append((request.ended_at, t("admin.event_ended", status=t(STATUSES[request.status])) + reason))
    else:
        events.append((found.deadline_at, t("admin.event_deadline")))
    return events


def _events_of(words: Words, attempt: AttemptThen) -> list[tuple[datetime, str]]:
    who = f"{attempt.host} · {attempt.pid}" if attempt.host else short(attempt.worker_id)
    place = words.place(attempt.attempt)
    events = [(attempt.started_at, words.t("admin.event_claimed", server=who, place=place))]
    if attempt.ended_at is not None:
        parts = [attempt.outcome, attempt.error_code, attempt.provider_request_id]
        what = words.t("admin.event_attempt_ended", place=place)
        events.append((attempt.ended_at, " · ".join([what, *filter(None, parts)])))
    return events
