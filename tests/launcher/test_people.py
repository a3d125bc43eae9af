"""`./naru people` on a real database: what it prints, and what it changes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import Engine

from deploy.cli import bootstrap, main
from deploy.cli.accounts import COMMANDS
from deploy.cli.people import ROLES, make_parser
from shared.errors import BadLink
from shared.people import accounts, codes, factors, links, sessions
from shared.people.accounts import Role
from shared.people.sealing import Sealing
from shared.postgres.database import make_engine
from tests.launcher.test_ask import naru
from tests.patience import patient
from tests.smtp import settings_for, smtp_server
from tests.stack import Stack, free_port

EMAIL = "ada@example.org"


@pytest.fixture
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database."""
    return make_engine(stack.settings, name="test")


def people(stack: Stack, *words: str, **settings: object) -> str:
    """Run a command that succeeds, and return its output."""
    ran = naru(stack, "people", *words, **{"auth": "local", **settings})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refusal(stack: Stack, *words: str) -> str:
    """Run a command that fails, and return its one sentence."""
    ran = naru(stack, "people", *words, auth="local")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    return ran.stderr


def sign_up(engine: Engine, token: str, email: str = EMAIL) -> accounts.Person:
    return accounts.sign_up(engine, email=email, password_hash="x", invitation=token, is_open=False)


def test_invitation_makes_the_first_administrator(stack: Stack, engine: Engine) -> None:
    assert "There are no accounts yet" in people(stack, "list")
    printed = people(stack, "invite", domain="chat.example.org")
    assert "one account with the role admin" in printed
    found = re.search(r"^https://chat\.example\.org/sign-up\?invitation=(\S+)$", printed, re.MULTILINE)
    assert found is not None
    assert sign_up(engine, found[1]).role is Role.ADMIN
    assert re.search(
        rf"^{EMAIL}  admin  since \d{{4}}-\d\d-\d\d  person:[0-9a-f-]{{36}}$", people(stack, "list"), re.MULTILINE
    )


def test_commands_change_the_named_account(stack: Stack, engine: Engine) -> None:
    sign_up(engine, links.invite(engine, "user", days=1))
    second = sign_up(engine, links.invite(engine, "user", days=1), "second@example.org")
    assert "is auditor now" in people(stack, "role", "Second@Example.org", "auditor")
    assert accounts.person_with(engine, second.email).role is Role.AUDITOR
    assert "is disabled and signed out" in people(stack, "disable", second.email)
    assert accounts.person_with(engine, second.email).is_disabled
    assert f"{second.email}  disabled" in people(stack, "list")
    assert "can sign in again" in people(stack, "enable", second.email)
    assert "0 sessions ended" in people(stack, "sign-out", second.email)
    token = people(stack, "reset", second.email).strip().rpartition("/new-password?link=")[2]
    assert links.is_valid(engine, token, "password")


def test_invitations_are_listed_and_withdrawn(stack: Stack, engine: Engine) -> None:
    sign_up(engine, links.invite(engine, "user", days=1))
    assert "There are no open invitations" in people(stack, "invitations")
    token = people(stack, "invite", "--role", "auditor").strip().rpartition("/sign-up?invitation=")[2]
    listed = people(stack, "invitations")
    found = re.search(r"^([0-9a-f]{12})  auditor  for anybody  made .+ by terminal  until ", listed, re.MULTILINE)
    assert found is not None
    assert token not in listed
    assert "there is no open invitation 0123456789ab" in refusal(stack, "withdraw", "0123456789ab")
    assert "is withdrawn" in people(stack, "withdraw", found[1])
    assert not links.is_valid(engine, token, "invitation")
    assert f"there is no open invitation {found[1]}" in refusal(stack, "withdraw", found[1])


def test_links_are_sent_by_mail(stack: Stack, engine: Engine, tmp_path: Path) -> None:
    first = sign_up(engine, links.invite(engine, "user", days=1))
    with smtp_server(tmp_path) as server:
        stack.values["SSL_CERT_FILE"] = str(server.certificate)
        mail = settings_for(server)
        printed = people(stack, "invite", "--mail", "Bob@Example.org", "--language", "ko", **mail)
        assert "It is on its way to bob@example.org." in printed
        people(stack, "reset", "--mail", EMAIL, **mail)
        invited, reset = server.wait_for(2, seconds=patient(10))
    assert (invited.to, invited.message["Subject"]) == ("bob@example.org", "나루 초대장")
    token = re.findall(r"/sign-up\?invitation=(\S+)", invited.text)[0]
    assert token in printed
    assert "for bob@example.org" in people(stack, "invitations")
    with pytest.raises(BadLink):
        sign_up(engine, token, "eve@example.org")
    assert sign_up(engine, token, "bob@example.org").role is Role.USER
    assert reset.to == EMAIL
    assert links.email_behind(engine, re.findall(r"/new-password\?link=(\S+)", reset.text)[0]) == first.email


def test_failed_mail_leaves_the_link(stack: Stack, engine: Engine) -> None:
    sign_up(engine, links.invite(engine, "user", days=1))
    assert "set NARU_SMTP_HOST" in refusal(stack, "invite", "--mail", "bob@example.org")
    away = {"smtp_host": "127.0.0.1", "smtp_port": free_port(), "smtp_sender": "naru@example.org"}
    ran = naru(stack, "people", "reset", "--mail", EMAIL, auth="local", domain="chat.example.org", **away)
    assert ran.returncode == 1
    assert "https://chat.example.org/new-password?link=" in ran.stdout
    assert "send the link above yourself. The SMTP server cannot be reached" in ran.stderr


def test_second_factor_is_reset(stack: Stack, engine: Engine) -> None:
    person = sign_up(engine, links.invite(engine, "user", days=1))
    assert f"{EMAIL} has no second factor." in people(stack, "reset-factor", EMAIL)
    sealing = Sealing(stack.settings.secret_key)
    begun = codes.begin(person.id, person.email, sealing)
    codes.switch_on(engine, person.id, begun, pyotp.TOTP(begun.secret).now(), sealing)
    sessions.begin(engine, person, device="", address="")
    assert "has no second factor any more, and is signed out" in people(stack, "reset-factor", EMAIL)
    assert not factors.is_on(engine, person.id)
    assert "0 sessions ended" in people(stack, "sign-out", EMAIL)


def test_doctor_connects_to_the_mail_server(stack: Stack, tmp_path: Path) -> None:
    with smtp_server(tmp_path) as server:
        stack.values["SSL_CERT_FILE"] = str(server.certificate)
        mail = settings_for(server)
        assert f"ok  mail: localhost:{server.port} takes mail (starttls)" in naru(stack, "doctor", **mail).stdout
        wrong = naru(stack, "doctor", **{**mail, "smtp_password": "wrong"}).stdout
        assert "NO  mail: " in wrong
        assert "refuses the user or the password (535)" in wrong
        assert "NARU_SMTP_SENDER" in naru(stack, "doctor", **{**mail, "smtp_sender": ""}).stdout
        assert server.received == []
    assert "mail:" not in naru(stack, "doctor").stdout


def test_refusals_say_what_to_do(stack: Stack, engine: Engine) -> None:
    sign_up(engine, links.invite(engine, "user", days=1))
    assert "there is no account of nobody@example.org. ./naru people list shows all." in refusal(
        stack, "disable", "nobody@example.org"
    )
    assert "This is not an e-mail address." in refusal(stack, "reset", "nobody")
    assert "This is the only administrator." in refusal(stack, "disable", EMAIL)
    assert "This is the only administrator." in refusal(stack, "role", EMAIL, "user")


def test_commands_warn_while_guests_need_no_account(stack: Stack) -> None:
    assert "Set NARU_AUTH=local" in people(stack, "invite", auth="guest")
    assert "Set NARU_AUTH=local" not in people(stack, "invite")


def test_erase_removes_the_account(stack: Stack, engine: Engine) -> None:
    sign_up(engine, links.invite(engine, "user", days=1))
    second = sign_up(engine, links.invite(engine, "user", days=1), "second@example.org")
    erased = naru(stack, "erase", "--yes", second.owner.key)
    assert erased.returncode == 0, erased.stderr
    assert "is the account of second@example.org, which leaves too" in erased.stdout
    assert [each.email for each in accounts.everyone(engine)] == [EMAIL]
    kept = naru(stack, "erase", "--yes", accounts.person_with(engine, EMAIL).owner.key)
    assert "This is the only administrator." in kept.stderr


def test_help_names_every_role_and_command() -> None:
    assert set(ROLES) == {role.value for role in Role}
    assert set(re.findall(r"^    (\S+)", make_parser().format_help(), re.MULTILINE)) == set(COMMANDS)


def test_bootstrap_installs_what_every_command_needs() -> None:
    (commands,) = (each for each in main.make_parser()._actions if isinstance(each, argparse._SubParsersAction))
    assert set(commands.choices) - {"keys"} == bootstrap.COMMANDS, "keys needs the standard library only"
