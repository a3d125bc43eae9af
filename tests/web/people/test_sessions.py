"""Sessions: their token, their end, and the chats from before the sign-in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from shared.people import sessions, taking_over
from shared.people.tokens import hash_of
from shared.postgres.database import transaction
from tests.patience import patient
from tests.stack import Process, Stack, wait_until
from tests.web.clients import EventReader, browser
from tests.web.fake_worker import FakeWorker
from tests.web.page_socket import page_socket
from tests.web.visitors import EMAIL, PASSWORD, Visitor, is_in, person_of


def test_session_token_changes_at_each_sign_in(stack: Stack, web: Process, ada: Visitor, engine: Engine) -> None:
    earlier = Visitor(web.url, dict(ada.cookies))
    assert ada.sign_in().status == 303
    assert is_in(ada)
    wait_until(lambda: not is_in(earlier), what="the earlier session has ended")
    assert len(sessions.sessions_of(engine, person_of(engine).id, stack.settings)) == 1


def test_database_has_no_token(ada: Visitor, engine: Engine) -> None:
    token = ada.cookies[ada.session_cookie]
    with transaction(engine) as connection:
        found = connection.execute(text("SELECT token_hash, device, address FROM session")).one()
    assert bytes(found.token_hash) == hash_of(token.partition(".")[0])
    assert token.partition(".")[0] not in str(found)


@pytest.mark.parametrize(
    "spoil",
    [
        str.swapcase,
        lambda value: value[:-1],
        lambda value: f"{'B' if value[0] == 'A' else 'A'}{value[1:]}",
        lambda _: "A" * 43,
        lambda _: "é" * 43,
    ],
)
def test_tampered_session_cookie_is_signed_out(ada: Visitor, spoil: Callable[[str], str]) -> None:
    name = ada.session_cookie
    thief = Visitor(ada.url, {**ada.cookies, name: spoil(ada.cookies[name]).encode().decode("latin-1")})
    assert not is_in(thief)


def test_doubled_session_cookie_is_signed_out(ada: Visitor) -> None:
    name, token = ada.session_cookie, ada.cookies[ada.session_cookie]
    assert Visitor(ada.url, {**ada.cookies, f"x=1; {name}": "A" * 43, name: token}).ask("/").status == 303


@pytest.mark.parametrize("column", ["seen_at", "created_at"])
def test_sessions_expire(web: Process, ada: Visitor, engine: Engine, column: str) -> None:
    with transaction(engine) as connection:
        connection.execute(text(f"UPDATE session SET {column} = now() - interval '91 days'"))
    assert wait_until(lambda: not is_in(ada), what="the session has expired")


def read_all(connection: ClientConnection) -> None:
    """Read until the connection is closed."""
    while True:
        connection.recv(timeout=patient(20))


def test_revoked_session_ends_open_pages_and_streams(
    stack: Stack, web: Process, ada: Visitor, engine: Engine, fake_worker: FakeWorker
) -> None:
    owner = person_of(engine).owner
    conversation_id, _ = fake_worker.question(owner)
    reader = EventReader(web.url, conversation_id, ada.cookie).open()
    with page_socket(web.url, ada.cookie, {"Origin": web.url}) as page:
        page.run(conversation_id)
        assert page.composer
        assert sessions.end_all(engine, person_of(engine).id) == 1
        with pytest.raises(ConnectionClosed, match="signed_out"):
            read_all(page.connection)
    assert reader.join(), "the stream ends"
    assert EventReader(web.url, conversation_id, ada.cookie).open().status == 401


def test_account_page_lists_and_ends_own_devices(web: Process, ada: Visitor, engine: Engine) -> None:
    phone = Visitor(web.url)
    phone.post("/sign-in", {"email": EMAIL, "password": PASSWORD}, user_agent="Mozilla/5.0 (iPhone) CriOS/130 Safari")
    stranger = Visitor(web.url)
    stranger.sign_up(engine, "second@example.org")
    page = ada.ask("/account")
    assert "Chrome · iPhone" in page.body
    assert page.body.count("<li>") == 2
    session_id = page.body.partition('name="session" value="')[2].partition('"')[0]
    assert str(UUID(session_id)) == session_id
    assert stranger.post("/account/end", {"session": session_id}).status == 303
    assert is_in(phone), "nobody ends another person's session"
    assert ada.post("/account/end", {"session": session_id}).status == 303
    wait_until(lambda: not is_in(phone), what="the phone is signed out")
    assert ada.post("/account/end-all").headers["location"] == "/sign-in"
    assert not is_in(ada)
    assert is_in(stranger)


def test_sign_out_clears_the_browsers_data(ada: Visitor) -> None:
    answer = ada.post("/sign-out")
    assert answer.headers["clear-site-data"] == '"storage"'
    assert not ada.session_cookie
    assert not is_in(ada)


def test_another_person_finds_no_draft(web: Process, ada: Visitor, engine: Engine) -> None:
    assert "clear-site-data" not in ada.sign_in().headers
    assert Visitor(web.url).sign_up(engine, "second@example.org").status == 303
    ada.cookies.pop(ada.session_cookie)
    answer = ada.sign_in("second@example.org")
    assert (answer.status, answer.headers["clear-site-data"]) == (303, '"storage"')


def test_taking_over_waits_for_an_ending_answer(
    stack: Stack, engine: Engine, fake_worker: FakeWorker, ada: Visitor
) -> None:
    """An end locks its request, then its conversation. In the other order both would wait for each other."""
    guest, _ = browser(stack)
    conversation_id, request_id = fake_worker.question(guest)
    with ThreadPoolExecutor(1) as threads:
        with transaction(engine) as ending:
            ending.execute(text("UPDATE chat_request SET tries = 1 WHERE id = :id"), {"id": request_id})
            taking = threads.submit(taking_over.take_over, engine, guest=guest, person=person_of(engine).owner)
            wait_until(lambda: waits_for_a_lock(engine), what="it waits for the answer")
            ending.execute(text("UPDATE conversation SET title = 'x' WHERE id = :id"), {"id": conversation_id})
        assert taking.result(patient(10)) == 1


def waits_for_a_lock(engine: Engine) -> bool:
    with transaction(engine) as connection:
        waiting = text(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
            " AND datname = current_database()"
        )
        return bool(connection.execute(waiting).scalar_one())


def test_guests_chats_become_the_persons(
    stack: Stack, web: Process, ada: Visitor, engine: Engine, fake_worker: FakeWorker
) -> None:
    guest, cookie = browser(stack)
    conversation_id, request_id = fake_worker.question(guest)
    visitor = Visitor(web.url, dict([cookie.split("=", 1)]))
    answer = visitor.sign_in()
    assert (answer.status, answer.headers["location"]) == (303, "/guest-chats")
    assert "in this browser: 1." in visitor.ask("/guest-chats").body
    assert visitor.post("/guest-chats").headers["location"] == "/"
    with transaction(engine) as connection:
        owners = connection.execute(
            text(
                "SELECT owner_id FROM conversation WHERE id = :conversation"
                " UNION ALL SELECT owner_id FROM chat_request WHERE id = :request"
            ),
            {"conversation": conversation_id, "request": request_id},
        )
        assert set(owners.scalars()) == {person_of(engine).owner.key}
    assert visitor.ask("/guest-chats").headers["location"] == "/"


def test_guests_chats_stay_without_consent(
    stack: Stack, web: Process, ada: Visitor, engine: Engine, fake_worker: FakeWorker
) -> None:
    guest, cookie = browser(stack)
    conversation_id, _ = fake_worker.question(guest)
    visitor = Visitor(web.url, dict([cookie.split("=", 1)]))
    assert visitor.sign_in().status == 303
    assert EventReader(web.url, conversation_id, visitor.cookie).open().status == 404
    with transaction(engine) as connection:
        found = connection.execute(text("SELECT owner_id FROM conversation WHERE id = :id"), {"id": conversation_id})
        assert found.scalar_one() == guest.key


def test_session_outlives_its_key(stack: Stack, web: Process, ada: Visitor) -> None:
    """The next page after `keys rotate` renews the cookie, so that `keys drop` signs nobody out who has visited."""
    old, new = stack.settings.secret_key, "rotated-" + "r" * 32
    rotated, dropped = (stack.start_web(auth="local", secret_key=key) for key in (f"{new},{old}", new))
    late = Visitor(dropped.url, dict(ada.cookies))
    ada.url = rotated.url
    assert ada.ask("/healthz").status == 200
    assert len([name for name in ada.cookies if "naru_session" in name]) == 1, "only pages set cookies"
    assert is_in(ada)
    ada.url = dropped.url
    assert is_in(ada)
    assert not is_in(late)
    assert ada.post("/sign-out").status == 303
    assert not is_in(ada)
