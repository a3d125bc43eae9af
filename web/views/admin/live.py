"""The live part: the lanes, the workers, and the requests."""

from __future__ import annotations

from functools import partial

import streamlit as st

from shared.operating.lanes import MOST_COUNTED, LaneNow, lanes_now
from shared.operating.workers import Being, WorkerNow, workers_now
from shared.words import Words
from web.state.values import Wish
from web.views.admin import deciding, requests
from web.views.admin.showing import duration, heading, plain, short, since, table
from web.views.frame import Frame

#: At most five statements run in this time: the session, the lanes, the workers, a list of requests and a timeline.
REFRESH_SECONDS = 3.0
STATES = {
    Being.LIVE: "admin.worker_live",
    Being.DRAINING: "admin.worker_draining",
    Being.SILENT: "admin.worker_silent",
    Being.LOST: "admin.worker_lost",
    Being.LEFT: "admin.worker_left",
}


def draw(frame: Frame) -> None:
    """Draw the three lists, and the pending question."""
    deciding.draw(frame)
    t = frame.words.t
    heading(t("admin.lanes"))
    _lanes(frame)
    heading(t("admin.workers"))
    _workers(frame)
    heading(t("admin.requests"))
    requests.draw(frame)


def _lanes(frame: Frame) -> None:
    words, t = frame.words, frame.words.t
    lanes = lanes_now(frame.engine)
    if not lanes:
        st.html(f"<p>{plain(t('admin.no_lanes'))}</p>")
        return
    heads = (
        "admin.lane",
        "admin.waiting",
        "admin.longest",
        "admin.running",
        "admin.limit",
        "admin.free",
        "admin.state",
    )
    rows = [
        (
            plain(lane.name),
            counted(words, lane.waiting),
            plain(duration(words, lane.front_seconds)),
            counted(words, lane.running),
            plain(words.number(lane.most_running) if lane.most_running is not None else t("admin.no_limit")),
            plain(words.number(lane.free)),
            plain(state_of(words, lane)),
        )
        for lane in lanes
    ]
    st.html(table(t("admin.lanes"), [t(each) for each in heads], rows))


def counted(words: Words, number: int) -> str:
    """Return a number that was counted up to a limit."""
    return plain(f"{words.number(number)}{'+' if number >= MOST_COUNTED else ''}")


def state_of(words: Words, lane: LaneNow) -> str:
    """Return why requests of this lane wait, or that nothing holds them."""
    t = words.t
    if lane.retry_seconds is not None:
        again = duration(words, lane.retry_seconds)
        return t("admin.lane_fails", code=lane.code or "", since=duration(words, lane.failing_seconds), duration=again)
    if not lane.is_served:
        return t("admin.lane_unserved")
    if lane.is_full:
        return t("admin.lane_full")
    if lane.most_running is not None and lane.running >= lane.most_running:
        return t("admin.lane_at_limit")
    return t("admin.lane_good")


def _workers(frame: Frame) -> None:
    workers = workers_now(frame.engine)
    if not workers:
        st.html(f"<p>{plain(frame.words.t('admin.no_workers'))}</p>")
    for each in workers:
        with st.container(key=f"admin-worker-{each.id}", horizontal=True, vertical_alignment="center"):
            st.html(_line(frame.words, each))
            if each.being in {Being.LIVE, Being.SILENT} and not each.is_drain_requested:
                st.button(
                    frame.words.t("admin.drain"),
                    key=f"admin-drain-{each.id}",
                    on_click=partial(deciding.ask, frame, Wish("drain", each.id, _name(each))),
                )


def _name(worker: WorkerNow) -> str:
    return f"{worker.host} · {worker.pid}"


def _line(words: Words, worker: WorkerNow) -> str:
    t = words.t
    being = Being.DRAINING if worker.being is Being.LIVE and worker.is_drain_requested else worker.being
    parts = [
        t("admin.slots", running=worker.running, slots=worker.slots),
        t("admin.since", time=since(words, worker.started_at)),
        t("admin.version", version=worker.version),
    ]
    if worker.ended_at is not None:
        parts = [t("admin.ended_ago", time=since(words, worker.ended_at)), parts[2]]
    elif being is Being.SILENT:
        parts.append(t("admin.seen_ago", time=duration(words, worker.renewed_seconds)))
    return (
        f'<div class="naru-line" data-naru-worker="{short(worker.id)}"><strong>{plain(_name(worker))}</strong>'
        f'<span class="naru-mark naru-being-{being.value}">{plain(t(STATES[being]))}</span>'
        f"<span>{plain(' · '.join(parts))}</span></div>"
    )
