"""The commands of `./naru admin`: what happens now, and what an administrator may change."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import Engine

from deploy import terminal
from deploy.cli.in_database import FAILURES, database_at, sentence_of
from deploy.cli.lanes import in_words
from shared import fleet, lifecycle
from shared.errors import NotFound
from shared.operating.banner import LONGEST_BANNER, clear_banner, read_banner, set_banner
from shared.operating.lanes import lanes_now
from shared.operating.requests import RequestNow, Which, requests_now, timeline
from shared.operating.workers import workers_now
from shared.tables import Status


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen command and return its exit code."""
    try:
        with database_at(chosen.data) as (engine, _):
            return COMMANDS[chosen.command](engine, chosen)
    except NotFound:
        return _complain(f"there is no request {chosen.id}. ./naru admin show lists those that run or wait.")
    except FAILURES as error:
        return _complain(sentence_of(error))


def show(engine: Engine, _: argparse.Namespace) -> int:
    """Print the lanes, the workers, and the first requests that run and wait."""
    for lane in lanes_now(engine):
        failing = "" if lane.code is None else f", its provider fails ({lane.code})"
        print(f"lane {in_words(lane)}, {lane.waiting} wait, room for {lane.free}{failing}")
    for worker in workers_now(engine):
        asked = ", asked to drain" if worker.is_drain_requested else ""
        state = f"{worker.being.value}{asked}, {worker.running} of {worker.slots} at once"
        print(f"worker {worker.id}  {terminal.line(worker.host)} {worker.pid}  {state}")
    for which in (Which.RUNNING, Which.QUEUED):
        for request in requests_now(engine, which):
            print(f"request {request.id}  {_described(request)}")
    return 0


def show_request(engine: Engine, chosen: argparse.Namespace) -> int:
    """Print the timeline of one request."""
    found = timeline(engine, chosen.id)
    print(f"request {found.request.id}  {_described(found.request)}")
    print(f"{_at(found.request.created_at)}  asked")
    for each in found.attempts:
        where = f"{terminal.line(each.host)} {each.pid}" if each.host else str(each.worker_id)
        print(f"{_at(each.started_at)}  attempt {each.attempt} by {where}")
        if each.ended_at is not None:
            parts = (each.outcome, each.error_code, each.provider_request_id)
            print(f"{_at(each.ended_at)}  attempt {each.attempt} ended: {terminal.line(' '.join(filter(None, parts)))}")
    if found.request.ended_at is not None:
        print(f"{_at(found.request.ended_at)}  {found.request.status.value}")
    return 0


def stop(engine: Engine, chosen: argparse.Namespace) -> int:
    """Stop a request."""
    said = {Status.CANCELLED: "stopped", Status.RUNNING: "its worker was asked to stop it"}
    status = lifecycle.stop_any(engine, chosen.id)
    print(f"request {chosen.id}: {said.get(status, f'had already ended ({status.value})')}")
    return 0


def requeue(engine: Engine, chosen: argparse.Namespace) -> int:
    """Take a running request from its worker."""
    attempt = timeline(engine, chosen.id).request.attempt
    if not lifecycle.take_from_worker(engine, chosen.id, attempt=attempt):
        return _complain(f"request {chosen.id} does not run. Nothing was changed.")
    print(f"request {chosen.id} was taken from its worker. It waits again, unless it was to be stopped.")
    return 0


def drain(engine: Engine, chosen: argparse.Namespace) -> int:
    """Let a worker finish and end."""
    if not fleet.request_drain(engine, chosen.id):
        return _complain(f"there is no worker {chosen.id}, or it was asked before. ./naru admin show lists them.")
    print(f"worker {chosen.id} takes no new request, finishes or hands over its answers, and ends.")
    return 0


def banner(engine: Engine, chosen: argparse.Namespace) -> int:
    """Set, clear or print the banner."""
    if chosen.clear:
        print("The banner is gone." if clear_banner(engine) else "There was no banner.")
        return 0
    if chosen.en or chosen.ko:
        found = set_banner(engine, en=chosen.en, ko=chosen.ko)
        if found is None:
            return _complain(f"a banner has at most {LONGEST_BANNER} characters in each language. It was not changed.")
    else:
        found = read_banner(engine)
    if found is None:
        print('There is no banner. ./naru admin banner --en "…" shows one to everybody.')
        return 0
    for line in filter(None, (found.en, found.ko)):
        print(terminal.line(line))
    return 0


def _described(request: RequestNow) -> str:
    owner = terminal.line(request.email or request.owner_key)
    code = f"  {request.error_code}" if request.error_code else ""
    return f"{request.status.value}  {owner}  {terminal.line(request.model)}  since {_at(request.created_at)}{code}"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


COMMANDS: Mapping[str, Callable[[Engine, argparse.Namespace], int]] = {
    "show": show,
    "request": show_request,
    "stop": stop,
    "requeue": requeue,
    "drain": drain,
    "banner": banner,
}


def _complain(sentence: str) -> int:
    sys.stderr.write(f"naru admin: {sentence}\n")
    return 1
