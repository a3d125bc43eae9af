"""Mail: a link to a new password, over a real SMTP server, and what happens while that one fails."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shared.people import accounts
from tests.patience import patient
from tests.smtp import USER, Received, SmtpServer, settings_for, smtp_server
from tests.stack import Process, Stack, free_port, wait_until
from tests.web.visitors import EMAIL, OTHER, PASSWORD, Visitor, is_in, person_of, says, visit
from web.mailing import MOST_WAITING

LINK = re.compile(r"^https://chat\.example\.org/new-password\?link=(\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def smtp(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmtpServer]:
    """A server that takes mail, after STARTTLS and a sign-in. Processes know its certificate."""
    with smtp_server(tmp_path_factory.mktemp("smtp")) as server:
        stack.values["SSL_CERT_FILE"] = str(server.certificate)
        yield server


@pytest.fixture(scope="module")
def web(stack: Stack, smtp: SmtpServer) -> Process:
    """Start a web process that sends mail."""
    return stack.start_web(auth="local", **settings_for(smtp))


@pytest.fixture(autouse=True)
def _forget(smtp: SmtpServer) -> None:
    smtp.received.clear()


def arrived(smtp: SmtpServer, number: int = 1) -> Received:
    """Return the last mail, once there are this many."""
    return smtp.wait_for(number, seconds=patient(20))[-1]


def link_in(mail: Received) -> str:
    """Return the token of the link in a mail."""
    found = LINK.search(mail.text)
    assert found is not None, mail.text
    return found[1]


def test_forgotten_password_is_replaced_by_mail(web: Process, ada: Visitor, smtp: SmtpServer) -> None:
    visitor = visit(web)
    assert 'href="/forgotten"' in visitor.ask("/sign-in").body
    assert visitor.ask("/forgotten").status == 200
    assert "a mail with a link is on its way" in visitor.post("/forgotten", {"email": EMAIL.upper()}).body
    mail = arrived(smtp)
    assert (mail.sender, mail.to, mail.was_encrypted) == ("naru@example.org", EMAIL, True)
    assert smtp.signed_in[-1] == USER
    assert mail.message["To"] == EMAIL
    token = link_in(mail)
    assert token not in str(mail.message["Subject"])
    assert visitor.post("/new-password", {"link": token, "password": OTHER}).status == 200
    assert visitor.sign_in(EMAIL, OTHER).status == 303
    wait_until(lambda: not is_in(ada), what="all other sessions have ended")


def test_mail_is_written_in_the_persons_language(web: Process, ada: Visitor, smtp: SmtpServer) -> None:
    Visitor(web.url).post("/forgotten", {"email": EMAIL}, accept_language="ko-KR,ko;q=0.9")
    mail = arrived(smtp)
    assert mail.message["Subject"] == "나루 비밀번호 재설정"
    assert "새 비밀번호를 정하세요" in mail.text
    assert link_in(mail)


def test_answer_hides_whether_there_is_an_account(web: Process, ada: Visitor, engine: Engine, smtp: SmtpServer) -> None:
    Visitor(web.url).sign_up(engine, "closed@example.org")
    accounts.disable(engine, person_of(engine, "closed@example.org").id)
    given = ("nobody@example.org", "closed@example.org", EMAIL)
    answers = [visit(web).post("/forgotten", {"email": email}) for email in given]
    assert {(each.status, each.body) for each in answers} == {(200, answers[0].body)}
    assert arrived(smtp).to == EMAIL
    assert len(smtp.received) == 1, "the other two were looked up before"


def test_mails_to_one_address_are_limited(web: Process, ada: Visitor, smtp: SmtpServer) -> None:
    for email in (EMAIL, "nobody@example.org"):
        statuses = [visit(web).post("/forgotten", {"email": email}).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
    arrived(smtp, 3)
    assert ada.post("/sign-out").status == 303
    assert ada.sign_in(EMAIL, PASSWORD).status == 303, "mails use up no attempt to sign in"


def test_malformed_address_is_refused(web: Process, ada: Visitor) -> None:
    assert says(visit(web).post("/forgotten", {"email": "no address"}), "This is not an e-mail address")
    injected = visit(web).post("/forgotten", {"email": "ada@example.org\r\nBcc: eve@example.org"})
    assert says(injected, "This is not an e-mail address")


def test_page_without_mail_asks_for_an_administrator(stack: Stack, ada: Visitor) -> None:
    visitor = Visitor(stack.start_web(auth="local").url)
    assert "An administrator can give you a link" in visitor.ask("/sign-in").body
    for answer in (visitor.ask("/forgotten"), visitor.post("/forgotten", {"email": EMAIL})):
        assert (answer.status, answer.headers["location"]) == (303, "/sign-in")


def test_open_sign_up_goes_through_the_mail(stack: Stack, ada: Visitor, engine: Engine, smtp: SmtpServer) -> None:
    """So the page tells nobody who has an account, and an account's address is its person's."""
    web = stack.start_web(auth="local", sign_up="open", **settings_for(smtp))
    visitor = visit(web)
    assert 'name="password"' not in visitor.ask("/sign-up").body
    form = {"password": PASSWORD}
    answers = [visitor.post("/sign-up", {"email": email, **form}) for email in (EMAIL, "new@example.org")]
    assert answers[0].body == answers[1].body
    assert [each.email for each in accounts.everyone(engine)] == [EMAIL], "a mail comes first"
    taken, new = sorted(smtp.wait_for(2, seconds=patient(20)), key=lambda mail: mail.to)
    assert "You have one already" in taken.text
    token = re.findall(r"/sign-up\?invitation=(\S+)", new.text)[0]
    shown = visitor.ask(f"/sign-up?invitation={token}")
    assert 'value="new@example.org" readonly' in shown.body
    made = visitor.post("/sign-up", {"email": "eve@example.org", "invitation": token, **form})
    assert made.status == 303
    assert [each.email for each in accounts.everyone(engine)] == [EMAIL, "new@example.org"]


@pytest.mark.parametrize("behaviour", ["frozen", "drips", "refuses", "away"])
def test_failing_server_delays_no_page(stack: Stack, ada: Visitor, smtp: SmtpServer, behaviour: str) -> None:
    smtp.behaviour = behaviour
    try:
        settings = settings_for(smtp, smtp_seconds=1)
        web = stack.start_web(auth="local", **(settings | ({"smtp_port": free_port()} if behaviour == "away" else {})))
        began = time.monotonic()
        assert visit(web).post("/forgotten", {"email": EMAIL}).status == 200
        assert time.monotonic() - began < patient(5)
        wait_until(lambda: failed(web) == 1, seconds=20, what="the mail has failed")
        assert "mail failed" in web.log_text()
        assert EMAIL not in web.log_text()
        assert smtp.received == []
    finally:
        smtp.behaviour = "good"
        web.kill()


def failed(web: Process) -> float:
    """Return how many mails this process could not send."""
    metrics = Visitor(web.url).ask("/metrics").body
    found = re.search(r'^naru_mails_total\{kind="password",outcome="failed"\} (\S+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0


def test_full_queue_refuses_everybody_alike(stack: Stack, ada: Visitor, smtp: SmtpServer) -> None:
    smtp.behaviour = "frozen"
    try:
        web = stack.start_web(auth="local", sign_in_failures=1000, **settings_for(smtp, smtp_seconds=300))
        # Two mails hold the two threads, the rest waits, whether there is an account or not.
        emails = [EMAIL, EMAIL, *(f"{number}@example.org" for number in range(MOST_WAITING + 1))]
        answers = [visit(web).post("/forgotten", {"email": email}) for email in emails]
        assert {each.status for each in answers[:MOST_WAITING]} == {200}
        assert answers[-1].status == 503
        assert says(answers[-1], "No mail can be sent right now")
    finally:
        smtp.behaviour = "good"
        web.kill()


def test_mail_goes_over_tls_from_the_first_byte(stack: Stack, ada: Visitor, tmp_path: Path) -> None:
    with smtp_server(tmp_path, is_tls=True) as server:
        known = stack.values["SSL_CERT_FILE"]
        stack.values["SSL_CERT_FILE"] = str(server.certificate)
        try:
            web = stack.start_web(auth="local", **settings_for(server))
        finally:
            stack.values["SSL_CERT_FILE"] = known
        assert visit(web).post("/forgotten", {"email": EMAIL}).status == 200
        assert arrived(server).to == EMAIL


def test_unknown_certificate_gets_no_mail(stack: Stack, ada: Visitor, tmp_path: Path) -> None:
    with smtp_server(tmp_path) as server:
        web = stack.start_web(auth="local", **settings_for(server))
        visit(web).post("/forgotten", {"email": EMAIL})
        wait_until(lambda: failed(web) == 1, seconds=20, what="the mail has failed")
        assert "TLS cannot be used" in web.log_text()
        assert (server.received, server.signed_in) == ([], [])
