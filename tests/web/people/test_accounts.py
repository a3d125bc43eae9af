"""Accounts: the first one, invitations, new passwords, roles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from shared.errors import LastAdmin, WrongPassword
from shared.people import accounts, links, sessions
from shared.people.accounts import Role
from shared.postgres.database import transaction
from tests.stack import Process, Stack, wait_until
from tests.web.fake_worker import FakeWorker
from tests.web.visitors import EMAIL, OTHER, PASSWORD, Visitor, is_in, person_of, says, visit


def test_first_account_is_an_administrators(ada: Visitor, engine: Engine) -> None:
    assert is_in(ada)
    assert person_of(engine).role is Role.ADMIN
    assert visit_as_second(ada, engine).role is Role.USER


def visit_as_second(first: Visitor, engine: Engine) -> accounts.Person:
    assert Visitor(first.url).sign_up(engine, "second@example.org").status == 303
    return person_of(engine, "second@example.org")


def test_first_account_needs_an_invitation(stack: Stack, engine: Engine) -> None:
    """Otherwise whoever finds a new page first would own it."""
    visitor = Visitor(stack.start_web(auth="local", sign_up="open").url)
    form = {"email": EMAIL, "password": PASSWORD}
    assert says(visitor.post("/sign-up", form), "You need an invitation")
    assert accounts.everyone(engine) == []
    assert Visitor(visitor.url).sign_up(engine).status == 303
    assert visitor.post("/sign-up", {**form, "email": "second@example.org"}).status == 303
    assert is_in(visitor)


def test_invitation_makes_one_account(web: Process, ada: Visitor, engine: Engine) -> None:
    token = links.invite(engine, "auditor", days=1)
    form = {"password": PASSWORD, "invitation": token}
    with ThreadPoolExecutor(6) as threads:
        answers = list(
            threads.map(lambda n: visit(web).post("/sign-up", {**form, "email": f"{n}@example.org"}).status, range(6))
        )
    assert sorted(answers) == [303] + [400] * 5
    assert [each.role for each in accounts.everyone(engine)].count(Role.AUDITOR) == 1
    assert says(Visitor(web.url).ask(f"/sign-up?invitation={token}"), "expired or was used already")


def test_expired_links_change_nothing(web: Process, ada: Visitor, engine: Engine) -> None:
    invitation = links.invite(engine, "user", days=1)
    link = links.allow_new_password(engine, person_of(engine).id, hours=1)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE link SET expires_at = now() - interval '1 second'"))
    form = {"email": "new@example.org", "password": OTHER, "invitation": invitation, "link": link}
    assert says(visit(web).post("/sign-up", form), "expired or was used already")
    assert says(visit(web).post("/new-password", form), "expired or was used already")
    assert visit(web).sign_in().status == 303


def test_kinds_of_links_are_not_exchangeable(web: Process, ada: Visitor, engine: Engine) -> None:
    invitation = links.invite(engine, "user", days=1)
    assert says(visit(web).post("/new-password", {"password": OTHER, "link": invitation}), "expired or was used")
    assert visit(web).sign_in().status == 303


def test_two_accounts_never_share_an_address(web: Process, ada: Visitor, engine: Engine) -> None:
    tokens = [links.invite(engine, "user", days=1) for _ in range(4)]

    def sign_up(token: str) -> int:
        form = {"email": "Twin@Example.org", "password": PASSWORD, "invitation": token}
        return visit(web).post("/sign-up", form).status

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(sign_up, tokens)) == [303, 400, 400, 400]
    assert len(accounts.everyone(engine)) == 2
    assert sum(links.is_valid(engine, token, "invitation") for token in tokens) == 3, "a refusal uses up no invitation"


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("no address", PASSWORD, "This is not an e-mail address"),
        ("new@example.org", "short", "Use at least 8 characters"),
        ("new@example.org", "p" * 257, "Use at most 256 characters"),
        ("new@example.org", "password123", "easy to guess"),
        ("new@example.org", "new@example.org", "easy to guess"),
        ("new@example.org\r\nx: y", PASSWORD, "This is not an e-mail address"),
        ("new\x00@example.org", PASSWORD, "This is not an e-mail address"),
    ],
)
def test_sign_up_explains_a_refusal(ada: Visitor, engine: Engine, email: str, password: str, sentence: str) -> None:
    token = links.invite(engine, "user", days=1)
    refused = Visitor(ada.url).post("/sign-up", {"email": email, "password": password, "invitation": token})
    assert says(refused, sentence)
    assert len(accounts.everyone(engine)) == 1
    assert links.is_valid(engine, token, "invitation")


def test_disabled_account_is_signed_out(web: Process, ada: Visitor, engine: Engine) -> None:
    visitor = Visitor(web.url)
    visitor.sign_up(engine, "second@example.org")
    assert is_in(visitor)
    accounts.disable(engine, person_of(engine, "second@example.org").id)
    wait_until(lambda: not is_in(visitor), what="the session has ended")
    accounts.enable(engine, person_of(engine, "second@example.org").id)
    assert not is_in(visitor), "an ended session stays ended"
    assert visitor.sign_in("second@example.org").status == 303


def test_password_change_ends_other_sessions(web: Process, ada: Visitor) -> None:
    other = visit(web)
    other.sign_in()
    wrong = ada.post("/account/password", {"current": "wrong password", "password": OTHER})
    assert says(wrong, "the password is wrong")
    changed = ada.post("/account/password", {"current": PASSWORD, "password": OTHER})
    assert "Your other devices are signed out" in changed.body
    wait_until(lambda: not is_in(other), what="the other session has ended")
    assert is_in(ada)
    assert visit(web).sign_in().status == 400
    assert visit(web).sign_in(EMAIL, OTHER).status == 303


def test_new_password_by_link_ends_a_lockout(web: Process, ada: Visitor, engine: Engine) -> None:
    while visit(web).sign_in(EMAIL, "wrong password").status != 429:
        pass
    link = links.allow_new_password(engine, person_of(engine).id, hours=1)
    assert visit(web).post("/new-password", {"link": link, "password": OTHER}).status == 200
    assert visit(web).sign_in(EMAIL, OTHER).status == 303


def test_checked_password_is_worthless_once_replaced(ada: Visitor, engine: Engine) -> None:
    """A sign-in that waits for its hash must not outlive the reset that came in between."""
    checked = person_of(engine)
    with transaction(engine) as connection:
        accounts.set_password(connection, checked.id, "another hash")
    with pytest.raises(WrongPassword):
        sessions.begin(engine, checked, device="", address="")
    with pytest.raises(WrongPassword), transaction(engine) as connection:
        accounts.set_password(connection, checked.id, "mine", instead_of=checked.password_hash)
    assert person_of(engine).password_hash == "another hash"


def test_open_sign_up_is_limited_by_address(stack: Stack, ada: Visitor) -> None:
    visitor = Visitor(stack.start_web(auth="local", sign_up="open", sign_in_failures=1).url)
    form = {"email": "new@example.org", "password": "short"}
    assert [visitor.post("/sign-up", form).status for _ in range(5)] == [400] * 3 + [429] * 2


def test_first_account_ends_other_invitations(web: Process, engine: Engine) -> None:
    spare = links.invite(engine, "admin", days=1)
    assert Visitor(web.url).sign_up(engine).status == 303
    assert not links.is_valid(engine, spare, "invitation")


def test_password_link_works_once(web: Process, ada: Visitor, engine: Engine) -> None:
    first, second = (links.allow_new_password(engine, person_of(engine).id, hours=1) for _ in range(2))
    visitor = visit(web)
    assert visitor.ask(f"/new-password?link={first}").status == 200
    assert "easy to guess" in visitor.post("/new-password", {"link": first, "password": "password123"}).body
    assert visitor.post("/new-password", {"link": first, "password": OTHER}).status == 200
    wait_until(lambda: not is_in(ada), what="all sessions have ended")
    for link in (first, second):
        assert says(visitor.post("/new-password", {"link": link, "password": PASSWORD}), "expired or was used already")
    assert visitor.sign_in(EMAIL, OTHER).status == 303


def test_last_administrator_stays(ada: Visitor, engine: Engine) -> None:
    person = person_of(engine)
    with pytest.raises(LastAdmin):
        accounts.disable(engine, person.id)
    with pytest.raises(LastAdmin):
        accounts.set_role(engine, person.id, Role.USER)
    second = visit_as_second(ada, engine)
    accounts.set_role(engine, second.id, Role.ADMIN)
    accounts.set_role(engine, person.id, Role.USER)
    assert person_of(engine).role is Role.USER
    wait_until(lambda: not is_in(ada), what="a new role ends the sessions")


def test_deleted_account_takes_everything_along(
    web: Process, ada: Visitor, engine: Engine, fake_worker: FakeWorker
) -> None:
    visitor = Visitor(web.url)
    visitor.sign_up(engine, "second@example.org")
    mine, _ = fake_worker.question(person_of(engine).owner)
    theirs, _ = fake_worker.question(person_of(engine, "second@example.org").owner)
    assert says(visitor.post("/account/delete", {"current": "wrong password"}), "the password is wrong")
    assert is_in(visitor)
    deleted = visitor.post("/account/delete", {"current": PASSWORD})
    assert "Your account is deleted" in deleted.body
    assert not is_in(visitor)
    wait_until(lambda: conversations(engine) == [mine], seconds=30, what=f"{theirs} leaves, although it waited")
    assert [each.email for each in accounts.everyone(engine)] == [EMAIL]
    assert says(ada.post("/account/delete", {"current": PASSWORD}), "This is the only administrator")
    assert is_in(ada)


def conversations(engine: Engine) -> list[UUID]:
    with transaction(engine) as connection:
        return list(connection.execute(text("SELECT id FROM conversation")).scalars())
