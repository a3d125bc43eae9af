"""Tests of the limits per owner and per address on questions, new browsers and live streams.

The web process trusts X-Forwarded-For from this machine, so a test can come from any address.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select

from shared.people import Owner
from shared.tables import chat_request
from tests.stack import Process, Stack, get, wait_until
from tests.web.clients import Answered, EventReader, ask, browser
from tests.web.page_socket import page_socket
from web.asgi.address import CLIENT_HEADER
from web.asgi.cookies import PLAIN
from web.limits import MOST_CLIENTS, OpenStreams, RateLimit

HERE, THERE = {"X-Forwarded-For": "192.0.2.7"}, {"X-Forwarded-For": "198.51.100.9"}
QUESTIONS = 60


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def stored(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(chat_request)).scalar_one())


def refusals(web: Process, limit: str) -> float:
    _, body = get(f"{web.url}/metrics")
    found = re.search(rf'^naru_over_limit_total{{limit="{limit}"}} (\S+)$', body, re.MULTILINE)
    assert found, f"{limit} is not exported"
    return float(found[1])


def visit(web: Process, **headers: str) -> Answered:
    return ask(web.url, "/", **{"Accept": "text/html", "X_Forwarded_For": "192.0.2.7", **headers})


def may_look(web: Process, cookie: str) -> bool:
    reader = EventReader(web.url, uuid4(), cookie).open()
    reader.close()
    return reader.status == 200


@pytest.mark.parametrize("per_minute", [1, 3, 7, 600])
def test_rate_limit_allows_its_number_at_once_and_refills(per_minute: int) -> None:
    clock = Clock()
    limit = RateLimit(per_minute, clock=clock)
    assert [limit.take("a") for _ in range(per_minute)] == [0.0] * per_minute
    wait = limit.take("a")
    assert wait == pytest.approx(60 / per_minute)
    assert limit.take("b") == 0.0, "another client has its own limit"
    clock.now += wait
    assert limit.take("a") == 0.0
    assert limit.take("a") > 0
    clock.now += 60
    assert [limit.take("a") for _ in range(per_minute)] == [0.0] * per_minute


def test_rate_limit_of_zero_allows_any_number() -> None:
    limit = RateLimit(0)
    assert not any(limit.take("a") for _ in range(10_000))


def test_rate_limit_remembers_a_bounded_number_of_clients() -> None:
    limit = RateLimit(1, clock=Clock())
    assert limit.take("flooder") == 0.0
    for number in range(2 * MOST_CLIENTS):
        limit.take(f"2001:db8:{number:x}::/64")
        if number % 1000 == 0:
            assert limit.take("flooder") > 0, "a frequent client is not forgotten"
    assert len(limit._full_at) == MOST_CLIENTS


def test_open_streams_forget_closed_viewers() -> None:
    alice, bob, carol, dave = (Owner("browser", name) for name in ("alice", "bob", "carol", "dave"))
    streams = OpenStreams(per_owner=1, per_address=2, in_all=3)
    streams.enter(alice, "office")
    assert streams.reached(alice, "home") == "streams_per_owner"
    streams.enter(bob, "office")
    assert streams.reached(carol, "office") == "streams_per_address"
    streams.enter(carol, "home")
    assert streams.reached(dave, "cafe") == "streams"
    for owner, address in ((alice, "office"), (bob, "office"), (carol, "home")):
        streams.leave(owner, address)
    assert streams.reached(alice, "office") is None
    assert (streams.number, len(streams._of_owner), len(streams._of_address)) == (0, 0, 0)


def test_sixty_questions_on_one_socket_are_limited(stack: Stack, engine: Engine) -> None:
    patient: dict[str, Any] = {
        "socket_messages_per_second": 1000,
        "socket_message_burst": 1000,
    }  # otherwise the socket is closed first
    web = stack.start_web(owner_active_questions=5, owner_questions_per_minute=0, **patient)
    _, cookie = browser(stack)
    with page_socket(web.url, cookie) as socket:
        for _ in range(QUESTIONS):
            socket.ask(uuid4(), "x" * 20_000)
        assert socket.drew("5 of your questions are waiting or being answered")
        assert socket.drew("Your text is back in the box below.")
    assert stored(engine) == 5
    assert refusals(web, "too_many_active") == QUESTIONS - 5


def test_page_shows_the_limit_of_questions_a_minute(stack: Stack, engine: Engine) -> None:
    web = stack.start_web(owner_active_questions=0, owner_questions_per_minute=3)
    _, cookie = browser(stack)
    with page_socket(web.url, cookie) as socket:
        for _ in range(4):
            socket.ask(uuid4(), "Why?")
        assert socket.drew("limit of 3 per minute")
    assert stored(engine) == 3


def test_address_limits_its_owners_together(stack: Stack, engine: Engine) -> None:
    web = stack.start_web(address_questions_per_minute=2)
    cookies = [browser(stack)[1] for _ in range(3)]
    for cookie in cookies:
        # Web ignores a client's own header that names another address.
        with page_socket(web.url, cookie, {**HERE, CLIENT_HEADER: str(uuid4())}) as socket:
            socket.ask(uuid4(), "Why?")
            is_refused = socket.drew("Too many questions are coming from your network right now.")
            assert is_refused == (cookie is cookies[-1])
    assert stored(engine) == 2
    with page_socket(web.url, cookies[-1], THERE) as socket:
        socket.ask(uuid4(), "Why?")
    assert stored(engine) == 3, "the same person from another address"


def test_refused_owner_leaves_the_address_to_others(stack: Stack, engine: Engine) -> None:
    web = stack.start_web(owner_questions_per_minute=1, address_questions_per_minute=6)
    with page_socket(web.url, browser(stack)[1], HERE) as hasty:
        for _ in range(20):
            hasty.ask(uuid4(), "Why?")
        assert hasty.drew("limit of 1 per minute")
    with page_socket(web.url, browser(stack)[1], HERE) as colleague:
        colleague.ask(uuid4(), "Why?")
    assert stored(engine) == 2
    assert refusals(web, "address_too_fast") == 0


def test_new_browsers_of_an_address_are_limited(stack: Stack) -> None:
    web = stack.start_web(address_newcomers_per_minute=3)
    welcomed = [visit(web) for _ in range(3)]
    assert [answer.status for answer in welcomed] == [200] * 3
    cookie = welcomed[0].headers["set-cookie"].split(";")[0]
    assert cookie.startswith(PLAIN)
    refused = visit(web, Accept_Language="ko-KR,ko;q=0.9")
    assert refused.status == 429
    assert "set-cookie" not in refused.headers
    assert int(refused.headers["retry-after"]) >= 1
    assert "처음 여는 브라우저가 너무 많습니다" in refused.body
    assert "content-security-policy" in refused.headers
    assert "Too many new browsers" in visit(web).body
    assert visit(web, Cookie=cookie).status == 200, "a known browser is not limited"
    assert ask(web.url, "/healthz", X_Forwarded_For="192.0.2.7").status == 200
    assert visit(web, X_Forwarded_For="198.51.100.9").status == 200, "another address has its own limit"
    assert refusals(web, "address_newcomers") == 2
    assert web.log_text().count("over a limit") == 1, "one line a minute, for any number of refusals"


def test_forged_cookie_counts_as_a_new_browser(stack: Stack) -> None:
    web = stack.start_web(address_newcomers_per_minute=1)
    assert visit(web).status == 200
    assert visit(web, Cookie=f"{PLAIN}0=forged").status == 429


@pytest.mark.parametrize("limit", ["streams_per_owner", "streams_per_address", "streams"])
def test_live_streams_are_limited(stack: Stack, limit: str) -> None:
    stack.configure(**{limit: 3})
    web = stack.start_web()
    one = browser(stack)[1]
    cookies = [one if limit == "streams_per_owner" else browser(stack)[1] for _ in range(4)]
    readers = [EventReader(web.url, uuid4(), cookie).open() for cookie in cookies]
    assert [reader.status for reader in readers] == [200, 200, 200, 429]
    refused = ask(web.url, f"/api/conversations/{uuid4()}/events", Cookie=cookies[-1])
    assert (refused.status, refused.data["error"], refused.headers["retry-after"]) == (429, limit, "15")
    assert refusals(web, limit) == 2
    readers[0].close()
    wait_until(lambda: may_look(web, cookies[-1]), what="a closed stream makes room")
