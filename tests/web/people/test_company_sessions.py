"""A person of the company after the sign-in: the account's pages, and the ways in which a session ends."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import Engine
from websockets.exceptions import ConnectionClosed

from shared.people import accounts, links, taking_over
from tests.stack import Process, Stack, wait_until
from tests.web.clients import Answered, EventReader, browser
from tests.web.company import FORM, Company, sign_in, start_company, start_web
from tests.web.fake_worker import FakeWorker
from tests.web.page_socket import page_socket
from tests.web.people.test_sessions import read_all
from tests.web.visitors import EMAIL, OTHER, PASSWORD, Visitor, is_in, says
from web.openid.tokens import LOGOUT_EVENT

EVENTS: dict[str, object] = {LOGOUT_EVENT: {}}


@pytest.fixture(scope="module")
def company(stack: Stack) -> Company:
    """Start the provider."""
    return start_company(stack)


@pytest.fixture(scope="module")
def web(stack: Stack, company: Company) -> Process:
    """Start a web process with both ways to sign in."""
    return start_web(stack, company, auth="local+oidc", sign_up="open")


@pytest.fixture
def eve(web: Process, company: Company) -> Visitor:
    """Somebody whom the company has signed in."""
    company.behave(forget=True)
    visitor = Visitor(web.url)
    assert sign_in(visitor, "eve").status == 303
    return visitor


def person_with(engine: Engine, email: str, *, has_password: bool) -> accounts.Person:
    (found,) = (
        each
        for each in accounts.everyone(engine)
        if each.email == email and (each.password_hash is not None) == has_password
    )
    return found


def end(web: Process, token: str) -> Answered:
    """Send a logout token as the provider does: no origin, no cookie."""
    return Visitor(web.url).post("/openid/logout", {"logout_token": token}, origin="")


def test_both_ways_lead_to_two_accounts(web: Process, company: Company, engine: Engine) -> None:
    local = Visitor(web.url)
    assert local.sign_up(engine).status == 303
    there = Visitor(web.url)
    assert sign_in(there).status == 303
    assert {person_with(engine, EMAIL, has_password=each).role for each in (True, False)} == {"admin", "user"}
    page = Visitor(web.url).ask("/sign-in").body
    assert page.index("Sign in with your company account") < page.index('name="password"')
    again = Visitor(web.url)
    assert again.sign_in().status == 303
    assert again.ask("/account").body.count("<li>") == 2, "the devices of the account with the password"


def test_same_address_opens_no_other_account(web: Process, company: Company, engine: Engine) -> None:
    """Neither the password of the one nor the word of the other reaches an account that has the same address."""
    Visitor(web.url).sign_up(engine)
    there = Visitor(web.url)
    sign_in(there)
    page = there.ask("/account").body
    assert "so you have no password here" in page
    assert "Another account has this e-mail address too." in page
    assert "current-password" not in page
    changed = there.post("/account/password", {"current": PASSWORD, "password": OTHER})
    assert (changed.status, changed.headers["location"]) == (303, "/account")
    assert says(there.post("/account/delete", {"current": PASSWORD}), "Type the word")
    assert says(there.post("/account/delete", {"word": "remove"}), "Type the word")
    assert "Your account is deleted" in there.post("/account/delete", {"word": " Delete "}).body
    assert not is_in(there)
    (left,) = accounts.everyone(engine)
    assert left.password_hash is not None
    assert Visitor(web.url).sign_in().status == 303


def test_account_with_an_address_does_not_block_a_sign_up(web: Process, eve: Visitor, engine: Engine) -> None:
    assert Visitor(web.url).sign_up(engine, "eve@example.org").status == 303
    form = {"email": "eve@example.org", "password": PASSWORD, "invitation": links.invite(engine, "user", days=1)}
    assert says(Visitor(web.url).post("/sign-up", form), "There is an account with this e-mail address already")
    assert len(accounts.everyone(engine)) == 2


def test_pages_of_passwords_are_closed_without_them(stack: Stack, company: Company, engine: Engine) -> None:
    both = start_web(stack, company, auth="local+oidc")
    local = Visitor(both.url)
    local.sign_up(engine)
    web = start_web(stack, company)
    visitor = Visitor(web.url, dict(local.cookies))
    assert not is_in(visitor), "a session that began with a password"
    answers = [
        visitor.ask(f"/sign-up?invitation={links.invite(engine, 'user', days=1)}"),
        visitor.ask("/new-password?link=x"),
        visitor.sign_in(),
        visitor.post("/sign-up", {"email": "new@example.org", "password": PASSWORD}),
        visitor.post("/new-password", {"link": "x", "password": PASSWORD}),
    ]
    assert [(each.status, each.headers["location"]) for each in answers] == [(303, "/sign-in")] * 5
    assert 'name="password"' not in visitor.ask("/sign-in").body
    assert is_in(local)


def test_guests_chats_become_the_company_persons(
    stack: Stack, web: Process, company: Company, engine: Engine, fake_worker: FakeWorker
) -> None:
    guest, cookie = browser(stack)
    fake_worker.question(guest)
    visitor = Visitor(web.url, dict([cookie.split("=", 1)]))
    assert sign_in(visitor).headers["location"] == "/guest-chats"
    assert visitor.post("/guest-chats").headers["location"] == "/"
    assert taking_over.conversations_of(engine, person_with(engine, EMAIL, has_password=False).owner) == 1


def test_sign_out_offers_the_way_out_of_the_company(web: Process, company: Company, eve: Visitor) -> None:
    answer = eve.post("/sign-out")
    assert answer.status == 200
    (address,) = re.findall(r'href="(http[^"]+)"', unescape(answer.body))
    assert address.startswith(f"{company.issuer}/logout?")
    assert parse_qs(urlsplit(address).query) == {
        "client_id": ["naru tests"],
        "post_logout_redirect_uri": [f"{web.url}/sign-in"],
    }
    assert not eve.session_cookie
    assert not is_in(eve)


def test_logout_at_the_company_closes_page_and_stream(
    web: Process, company: Company, eve: Visitor, engine: Engine, fake_worker: FakeWorker
) -> None:
    conversation_id, _ = fake_worker.question(person_with(engine, "eve@example.org", has_password=False).owner)
    reader = EventReader(web.url, conversation_id, eve.cookie).open()
    with page_socket(web.url, eve.cookie, {"Origin": web.url}) as page:
        page.run(conversation_id)
        answer = end(web, company.mint(sub="sub-eve", events=EVENTS))
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        with pytest.raises(ConnectionClosed, match="signed_out"):
            read_all(page.connection)
    assert reader.join(), "the stream ends"


def test_logout_ends_the_named_session_only(web: Process, company: Company, eve: Visitor) -> None:
    phone, other = Visitor(web.url), Visitor(web.url)
    company.behave(claims={"sid": "phone"})
    sign_in(phone, "eve")
    company.behave(claims={"sid": "other"})
    sign_in(other, "ada")
    assert end(web, company.mint(sid="phone", sub="sub-ada", events=EVENTS)).status == 200
    assert is_in(phone), "a session that the subject does not have"
    assert end(web, company.mint(sid="phone", events=EVENTS)).status == 200
    wait_until(lambda: not is_in(phone), what="the session has ended")
    assert is_in(eve)
    assert is_in(other)
    assert end(web, company.mint(sub="sub-eve", events=EVENTS)).status == 200
    wait_until(lambda: not is_in(eve), what="all sessions of the person have ended")
    assert is_in(other)


def test_logout_token_works_once(web: Process, company: Company, eve: Visitor) -> None:
    token = company.mint(sub="sub-eve", events=EVENTS)
    assert end(web, token).status == 200
    assert sign_in(eve, "eve").status == 303
    refused = end(web, token)
    assert (refused.status, refused.data["error"]) == (400, "invalid_request")
    assert is_in(eve)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"iat": 1},
        {"iat": None},
        {"jti": None},
        {"jti": 7},
        {"nonce": "x"},
        {"events": None},
        {"events": {"other": {}}},
        {"events": [LOGOUT_EVENT]},
        {"sub": None},
        {"sub": 7},
        {"sid": {}, "sub": None},
    ],
    ids=str,
)
def test_tampered_logout_token_ends_nothing(
    web: Process, company: Company, eve: Visitor, claims: dict[str, object]
) -> None:
    refused = end(web, company.mint(**{"sub": "sub-eve", "events": EVENTS, **claims}))
    assert (refused.status, refused.data["error"]) == (400, "invalid_request")
    assert is_in(eve)


@pytest.mark.parametrize("signs", ["stranger", "nobody", "secret"])
def test_unsigned_logout_token_ends_nothing(web: Process, company: Company, eve: Visitor, signs: str) -> None:
    company.behave(signs=signs)
    assert end(web, company.mint(sub="sub-eve", events=EVENTS)).status == 400
    assert is_in(eve)


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "dpop+jwt", "secevent+jwt"])
def test_token_of_another_type_ends_nothing(web: Process, company: Company, eve: Visitor, typ: str) -> None:
    assert end(web, company.mint(sub="sub-eve", events=EVENTS, header={"typ": typ})).status == 400
    assert is_in(eve)


@pytest.mark.parametrize("typ", ["logout+jwt", "application/LOGOUT+JWT", "JWT", None])
def test_older_providers_may_leave_the_type_out(web: Process, company: Company, eve: Visitor, typ: str | None) -> None:
    assert end(web, company.mint(sub="sub-eve", events=EVENTS, header={"typ": typ})).status == 200
    wait_until(lambda: not is_in(eve), what="the session has ended")


def test_id_token_is_no_logout_token(web: Process, company: Company, eve: Visitor) -> None:
    assert end(web, company.mint(sub="sub-eve", nonce="n", sid="x")).status == 400
    assert [end(web, token).status for token in ("", "x", "a.b.c", "é")] == [400] * 4
    assert end(web, "x" * 60_000).status == 400, "as long as a form may be"
    assert end(web, "x" * 200_000).status in {400, 413}, "400 if it arrives together with the headers"
    sent = Visitor(web.url)._request("POST", "/openid/logout", "a=%ff%fe", FORM)
    assert sent.status == 400
    assert is_in(eve)
