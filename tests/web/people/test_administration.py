"""The page for administrators as everybody else, and with forged messages, over Streamlit's socket."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import pytest
from psycopg2 import sql
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.exceptions import ConnectionClosed

from shared.people import accounts, sessions
from shared.people.accounts import Role
from shared.postgres.database import transaction
from tests.stack import Stack, wait_until
from tests.web.clients import browser
from tests.web.fake_worker import FakeWorker
from tests.web.socket import PageSocket
from tests.web.visitors import Visitor, person_of
from web.asgi.identity import OWNER_HEADER, ROLE_HEADER, SESSION_HEADER
from web.views.admin.live import REFRESH_SECONDS

PAGE = "page=admin"
SHOWN, REFUSED = "Lanes", "This page is for administrators"
SECOND = "second@example.org"


@pytest.fixture
def worker_id(engine: Engine, fake_worker: FakeWorker) -> UUID:
    """A worker that can be asked to drain."""
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE worker"))
    fake_worker.enter()
    return fake_worker.worker_id


def second(first: Visitor, engine: Engine, role: str) -> Visitor:
    """Return another person who is signed in."""
    visitor = Visitor(first.url)
    assert visitor.sign_up(engine, SECOND, role=role).status == 303
    return visitor


def is_asked(engine: Engine, worker_id: UUID) -> bool:
    """Whether somebody asked the worker to drain."""
    asked = text("SELECT drain_requested_at IS NOT NULL FROM worker WHERE id = :id")
    with transaction(engine) as connection:
        return bool(connection.execute(asked, {"id": worker_id}).scalar_one())


def click(widget_id: str) -> WidgetState:
    """Return the message of a click."""
    return WidgetState(id=widget_id, trigger_value=True)


def test_administrator_sees_the_page(ada: Visitor, worker_id: UUID) -> None:
    with PageSocket(ada.url, ada.cookie) as page:
        page.run_at(PAGE)
        assert page.drew(SHOWN)
        assert page.drew("Finish and end")
        assert not page.drew(REFUSED)


@pytest.mark.parametrize("role", ["user", "auditor"])
def test_other_roles_see_a_sentence(ada: Visitor, engine: Engine, worker_id: UUID, role: str) -> None:
    with PageSocket(ada.url, second(ada, engine, role).cookie) as page:
        page.run_at(PAGE)
        assert page.drew(REFUSED)
        assert not page.drew(SHOWN)
        page.frames.clear()
        page.run_at("c=")
        assert not page.drew(PAGE), "the sidebar does not offer the page"


def test_nobody_sees_the_sign_in(stack: Stack, ada: Visitor, worker_id: UUID) -> None:
    for cookie in ("", browser(stack)[1]):
        with PageSocket(ada.url, cookie) as page:
            page.run_at(PAGE)
            assert page.drew("You are signed out")
            assert not page.drew(SHOWN)
    assert Visitor(ada.url).ask(f"/?{PAGE}").status == 303


def test_guest_mode_has_no_such_page(stack: Stack, worker_id: UUID) -> None:
    with PageSocket(stack.start_web().url, browser(stack)[1]) as page:
        page.run_at(PAGE)
        assert page.drew(REFUSED)
        assert not page.drew(SHOWN)


def test_client_cannot_name_its_session(ada: Visitor, engine: Engine, worker_id: UUID, stack: Stack) -> None:
    (session,) = sessions.sessions_of(engine, person_of(engine).id, stack.settings)
    owner = person_of(engine).owner.key
    forged = {SESSION_HEADER: str(session.id), ROLE_HEADER: "admin", OWNER_HEADER: owner}
    for cookie in (second(ada, engine, "user").cookie, ""):
        with PageSocket(ada.url, cookie, headers=forged) as page:
            page.run_at(PAGE)
            assert not page.drew(SHOWN)


def test_forged_click_of_a_user_does_nothing(ada: Visitor, engine: Engine, worker_id: UUID) -> None:
    with PageSocket(ada.url, ada.cookie) as page, PageSocket(ada.url, second(ada, engine, "user").cookie) as other:
        page.run_at(PAGE)
        drain, fragment = page.button(f"admin-drain-{worker_id}"), page.fragment()
        page.run_at(PAGE, click(drain), fragment=fragment)
        for message in (click(drain), click(page.button("admin-yes"))):
            other.run_at(PAGE, message)
            with contextlib.suppress(TimeoutError):  # a run of a fragment that this session does not have may never end
                other.run_at(PAGE, message, fragment=fragment, seconds=0.5)
        assert not other.drew(SHOWN)
        assert not is_asked(engine, worker_id)


def demote(engine: Engine) -> None:
    accounts.set_role(engine, person_of(engine).id, Role.USER)


def disable(engine: Engine) -> None:
    accounts.disable(engine, person_of(engine).id)


def sign_out(engine: Engine) -> None:
    sessions.end_all(engine, person_of(engine).id)


@pytest.mark.parametrize("end", [demote, disable, sign_out])
def test_open_page_loses_its_right_at_once(
    ada: Visitor, engine: Engine, worker_id: UUID, end: Callable[[Engine], None]
) -> None:
    """The click comes before the socket is closed: nothing but the check in the callback stops it."""
    second(ada, engine, "admin")
    with PageSocket(ada.url, ada.cookie) as page:
        page.run_at(PAGE)
        fragment = page.fragment()
        page.run_at(PAGE, click(page.button(f"admin-drain-{worker_id}")), fragment=fragment)
        yes = click(page.button("admin-yes"))
        end(engine)
        page.frames.clear()
        with contextlib.suppress(ConnectionClosed):
            page.run_at(PAGE, yes, fragment=fragment)
        assert not is_asked(engine, worker_id)
        assert not page.drew(SHOWN)
        wait_until(lambda: is_closed(page), what="the socket is closed")


def is_closed(page: PageSocket) -> bool:
    try:
        page.run_at(PAGE)
    except ConnectionClosed:
        return True
    return False


def test_confirmed_click_of_an_administrator_acts(ada: Visitor, engine: Engine, worker_id: UUID) -> None:
    with PageSocket(ada.url, ada.cookie) as page:
        page.run_at(PAGE)
        fragment = page.fragment()
        page.run_at(PAGE, click(page.button(f"admin-drain-{worker_id}")), fragment=fragment)
        assert not is_asked(engine, worker_id), "it asks first"
        page.run_at(PAGE, click(page.button("admin-yes")), fragment=fragment)
        assert is_asked(engine, worker_id)
        assert page.drew("was asked to end")


def test_page_has_no_words_of_chats(ada: Visitor, engine: Engine, fake_worker: FakeWorker, worker_id: UUID) -> None:
    _, request_id = fake_worker.question(person_of(engine).owner)
    claimed = fake_worker.claim(request_id)
    with PageSocket(ada.url, ada.cookie) as page:
        page.run_at(PAGE)
        page.run_at(PAGE, click(page.button(f"admin-open-{request_id}")), fragment=page.fragment())
        assert page.drew("1st attempt by")
        fake_worker.finish(claimed, "나루터에서")
        page.run_at(PAGE, fragment=page.fragment())
        assert page.drew("Ended: succeeded")
        assert not page.drew("나루?")
        assert not page.drew("나루터에서")


REFRESHES = 10


def test_refresh_costs_at_most_two_statements_a_second(
    stack: Stack, engine: Engine, ada: Visitor, fake_worker: FakeWorker, worker_id: UUID
) -> None:
    """Counted in Postgres's log, with a timeline open: everything that one page can ask for."""
    _, request_id = fake_worker.question(person_of(engine).owner)
    fake_worker.claim(request_id)
    database = make_url(stack.settings.database_url).database or ""
    log = sql.SQL("ALTER DATABASE {} SET log_statement = {}")
    with PageSocket(ada.url, ada.cookie) as page:
        page.run_at(PAGE)
        page.run_at(PAGE, click(page.button(f"admin-open-{request_id}")), fragment=page.fragment())
        stack.servers.execute(log.format(sql.Identifier(database), sql.Literal("all")))
        try:
            with transaction(engine) as connection:
                mine = text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'naru-web'"
                )
                connection.execute(mine)
            page.run_at(PAGE, fragment=page.fragment())  # its new connection
            before = logged(stack)
            for _ in range(REFRESHES):
                page.run_at(PAGE, fragment=page.fragment())
            seen = logged(stack)[len(before) :]
        finally:
            stack.servers.execute(log.format(sql.Identifier(database), sql.Literal("none")))
    # A tick of the process falls between; whatever a refresh runs is there ten times.
    kinds = Counter(" ".join(line.split())[:100] for line in seen)
    of_refreshes = {kind: number for kind, number in kinds.items() if number >= REFRESHES}
    assert len(of_refreshes) >= 4, kinds
    assert sum(of_refreshes.values()) / REFRESHES / REFRESH_SECONDS <= 2, kinds


def logged(stack: Stack) -> list[str]:
    """Return the statements in Postgres's log."""
    return [
        part for part in stack.servers.postgres.log_text().split("LOG:  ") if part.startswith(("statement", "exec"))
    ]
