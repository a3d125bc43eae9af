"""`./naru people` on a real database: what it prints, and what it changes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyotp
import pytest
from sqlalchemy import Engine

from deploy.cli import bootstrap, main
from deploy.cli.accounts import COMMANDS
from deploy.cli.limits import UNSET
from deploy.cli.people import LIMITS as OPTIONS
from deploy.cli.people import ROLES, make_parser
from deploy.cli.people import UNSET as UNSET_HERE
from shared import lifecycle
from shared.errors import BadLink
from shared.lifecycle import Question
from shared.people import accounts, codes, factors, identities, links, sessions, taking_over
from shared.people.accounts import Role
from shared.people.identities import Claimed
from shared.people.refusals import IssuerChanged
from shared.people.sealing import Sealing
from shared.postgres.database import make_engine
from shared.spending.values import LIMITS
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


def enter(engine: Engine, subject: str, **claims: Any) -> accounts.Person:
    return identities.enter(engine, Claimed(issuer="https://old.example", subject=subject, **claims), {})


def test_commands_name_people_without_an_address(stack: Stack, engine: Engine) -> None:
    ada, twin = enter(engine, "1", email=EMAIL), enter(engine, "2", email=EMAIL)
    eve = enter(engine, "3", name="Eve")
    assert f"Eve  user  since {eve.created_at:%Y-%m-%d}  {eve.owner.key}  company sign-in\n" in people(stack, "list")
    assert "Several accounts have this e-mail address." in refusal(stack, "disable", EMAIL)
    assert "if NARU_OIDC_ROLES names this role" in people(stack, "role", ada.owner.key, "admin")
    assert "Eve is disabled" in people(stack, "disable", eve.owner.key)
    assert "This account has no password" in refusal(stack, "reset", twin.owner.key)
    for unknown in ("person:x", f"person:{ada.id}0", "person:00000000-0000-0000-0000-000000000000"):
        assert "there is no account of" in refusal(stack, "disable", unknown)


def test_chats_move_to_another_account(stack: Stack, engine: Engine) -> None:
    ada, new = sign_up(engine, links.invite(engine, "user", days=1)), enter(engine, "1", email=EMAIL)
    question = Question(owner=ada.owner, conversation_id=uuid4(), text="나루?", idempotency_key="1")
    lifecycle.submit(engine, question, deadline_seconds=60, max_characters=100)
    assert ": 1 chat." in people(stack, "move", ada.owner.key, new.owner.key)
    assert [taking_over.conversations_of(engine, each.owner) for each in (ada, new)] == [0, 1]
    assert "there is no account of" in refusal(stack, "move", ada.owner.key, "person:x")


def test_invitation_that_nobody_can_use_says_so(stack: Stack) -> None:
    assert "nobody can use the link" in people(stack, "invite", auth="oidc")
    assert "nobody can use the link" not in people(stack, "invite", auth="local+oidc")


def test_issuer_keeps_the_accounts_at_a_new_address(stack: Stack, engine: Engine) -> None:
    ada, _ = enter(engine, "1", email=EMAIL), enter(engine, "2")
    new = {"auth": "oidc", "oidc_issuer": "https://new.example"}
    with pytest.raises(IssuerChanged):
        identities.enter(engine, Claimed(issuer="https://new.example", subject="1"), {})
    assert "https://old.example (2)" in people(stack, "issuer", "https://nobody.example", **new)
    assert ": 2 accounts." in people(stack, "issuer", "https://old.example", **new)
    assert identities.enter(engine, Claimed(issuer="https://new.example", subject="1"), {}).id == ada.id
    assert "NARU_OIDC_ISSUER is not set" in refusal(stack, "issuer", "https://old.example")


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


def test_limits_are_set_and_shown(stack: Stack, engine: Engine) -> None:
    people(stack, "invite")
    person = sign_up(engine, links.invite(engine, "user", days=1), "limited@example.org")
    email = person.email
    assert "Own limits: none." in people(stack, "limit", email)
    printed = people(stack, "limit", email, "--tokens-per-day", "2000", "--money-per-month", "1.5")
    assert "Own limits: tokens per day 2,000, money per month 1.5." in printed
    assert "tokens per day: 0 of 2,000" in printed
    people(stack, "join", email, "Design")
    people(stack, "limit", "--group", "Design", "--together", "--money-per-month", "9")
    assert "  together: money per month 9" in people(stack, "groups")
    assert "money per month (Design, together): $0.00 of $9.00" in people(stack, "limit", email)
    assert "Own limits: money per month 1.5." in people(stack, "limit", email, "--tokens-per-day", "unset")
    assert "reserves openai/o3* for its members" in people(stack, "models", "Design", "openai/o3*")
    assert "the role auditor at least" in people(stack, "grant", "Design", "auditor")
    assert "is refused" in people(stack, "guard", "Design", "block")
    shown = people(stack, "groups")
    assert "  personal data: block" in shown
    assert "Design  1 member  auditor" in shown
    assert "  models: openai/o3*" in shown
    assert "reserves no model" in people(stack, "models", "Design")
    people(stack, "dissolve", "Design")
    assert "There are no groups yet" in people(stack, "groups")
    assert "limited@example.org" not in people(stack, "usage")
    assert people(stack, "usage", "--csv").startswith("\ufeffmonth,owner,email")


@pytest.mark.parametrize("wrong", ["-1", "many", "1.5", "NaN", "99999999999"])
def test_wrong_limit_is_refused(stack: Stack, engine: Engine, wrong: str) -> None:
    assert "not a whole number from 0" in refusal(stack, "limit", "--group", "None", f"--tokens-per-day={wrong}")


def test_unknown_group_is_named(stack: Stack) -> None:
    assert "there is no group Nowhere" in refusal(stack, "limit", "--group", "Nowhere")


def test_options_of_limit_are_those_of_the_limits() -> None:
    assert set(OPTIONS) == set(LIMITS)
    assert UNSET == UNSET_HERE
