"""`./naru people` on a real database: what it prints, and what it changes."""

from __future__ import annotations

import argparse
import re

import pytest
from sqlalchemy import Engine

from deploy.cli import bootstrap, main
from deploy.cli.accounts import COMMANDS
from deploy.cli.limits import NAMES, UNSET
from deploy.cli.people import LIMITS, ROLES, make_parser
from deploy.cli.people import UNSET as UNSET_HERE
from shared.people import accounts, links
from shared.people.accounts import Role
from shared.postgres.database import make_engine
from tests.launcher.test_ask import naru
from tests.stack import Stack

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
    assert all(f"    {name} " in make_parser().format_help() for name in COMMANDS)


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
    shown = people(stack, "groups")
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
    assert set(LIMITS) == set(NAMES)
    assert UNSET == UNSET_HERE
