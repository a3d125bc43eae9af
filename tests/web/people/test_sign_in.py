"""The way in: passwords, guesses and forms."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from shared.people import accounts
from shared.postgres.database import transaction
from tests.stack import Process, Stack
from tests.web.visitors import EMAIL, FAILURES, PASSWORD, Visitor, is_in, person_of, says, visit


def test_page_leads_strangers_to_the_sign_in(web: Process) -> None:
    chat = str(uuid4())
    answer = Visitor(web.url).ask(f"/?c={chat}")
    assert (answer.status, answer.headers["location"]) == (303, f"/sign-in?c={chat}")
    assert "no-store" in answer.headers["cache-control"]
    elsewhere = Visitor(web.url).ask("/?c=//evil.example")
    assert elsewhere.headers["location"] == "/sign-in"


def test_sign_in_returns_to_the_chat(web: Process, ada: Visitor) -> None:
    visitor, chat = visit(web), str(uuid4())
    answer = visitor.post("/sign-in", {"email": f" {EMAIL.upper()} ", "password": PASSWORD, "c": chat})
    assert (answer.status, answer.headers["location"]) == (303, f"/?c={chat}")
    assert is_in(visitor)


def test_refusal_hides_whether_an_account_exists(web: Process, ada: Visitor, engine: Engine) -> None:
    Visitor(web.url).sign_up(engine, "closed@example.org")
    accounts.disable(engine, person_of(engine, "closed@example.org").id)
    refused = [
        visit(web).sign_in(EMAIL, "wrong password"),
        visit(web).sign_in("nobody@example.org"),
        visit(web).sign_in("closed@example.org"),
        visit(web).sign_in("not an address"),
    ]
    assert {each.status for each in refused} == {400}
    assert all(says(each, "The e-mail address or the password is wrong.") for each in refused)


def test_guesses_in_parallel_reach_the_limit(web: Process, ada: Visitor) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda n: visit(web).sign_in(EMAIL, f"guess number {n}").status, range(12)))
    assert sorted(answers) == [400] * FAILURES + [429] * (12 - FAILURES)


def test_guesser_locks_out_no_known_device(web: Process, ada: Visitor) -> None:
    ada.post("/sign-out")
    statuses = {visit(web).sign_in(EMAIL, f"guess number {n}").status for n in range(FAILURES + 1)}
    assert statuses == {400, 429}
    refused = visit(web).sign_in()
    assert refused.status == 429
    assert says(refused, "Too many attempts failed. Try again in")
    assert ada.sign_in().status == 303
    assert is_in(ada)


def test_address_limit_spares_known_devices(web: Process, ada: Visitor) -> None:
    statuses = [visit(web).sign_in(f"{n}@example.org", "guess").status for n in range(3 * FAILURES + 1)]
    assert statuses == [400] * 3 * FAILURES + [429]
    assert ada.sign_in().status == 303


def test_right_passwords_use_up_no_attempt(web: Process, ada: Visitor) -> None:
    assert [visit(web).sign_in().status for _ in range(3 * FAILURES + 2)] == [303] * (3 * FAILURES + 2)


def test_attempts_come_back_with_time(web: Process, ada: Visitor, engine: Engine) -> None:
    while visit(web).sign_in(EMAIL, "wrong password").status != 429:
        pass
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sign_in_allowance SET whole_at = whole_at - interval '15 minutes'"))
    assert visit(web).sign_in().status == 303


def test_forms_come_from_our_own_page(web: Process, ada: Visitor) -> None:
    form = {"email": EMAIL, "password": PASSWORD}
    for headers in ({"origin": "https://evil.example"}, {"origin": ""}, {"sec_fetch_site": "cross-site", "origin": ""}):
        refused = visit(web).post("/sign-in", form, **headers)
        assert (refused.status, refused.data["error"]) == (403, "foreign_origin")
    assert ada.post("/sign-out", origin="https://evil.example").status == 403
    assert is_in(ada)


@pytest.mark.parametrize("body", ["a=" + "b" * 9000, "&".join(f"{n}=x" for n in range(40)), "a=%ff%fe"])
def test_malformed_forms_are_refused(web: Process, body: str) -> None:
    visitor = visit(web)
    answer = visitor._request("POST", "/sign-in", body, {"origin": web.url})
    assert answer.status in {400, 413}
    assert answer.data["message"].endswith(".")


def test_guest_mode_has_no_accounts(stack: Stack) -> None:
    visitor = Visitor(stack.start_web().url)
    for path in ("/sign-in", "/sign-up", "/account", "/new-password", "/guest-chats"):
        answer = visitor.ask(path)
        assert (answer.status, answer.headers["location"]) == (303, "/")
    assert is_in(visitor)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_web_refuses_open_guests_elsewhere_than_loopback(stack: Stack, host: str) -> None:
    refused = stack.run("web", "-m", "web", host=host)
    assert refused.wait() == 1
    assert "Set NARU_AUTH=local" in refused.log_text()
