"""Passwords: which ones are taken, and that they count exactly as they were typed."""

from __future__ import annotations

import asyncio
import re

import pytest
from sqlalchemy import Engine, text
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from shared.errors import PasswordTooEasy
from shared.people import links
from shared.postgres.database import transaction
from tests.web.visitors import PASSWORD, Visitor, is_in
from web.api.people import passwords

#: ASVS 5.0, 6.2.4: those of the 3,000 most common passwords that are long enough for ours.
COMMON = [each for each in FREQUENCY_LISTS["passwords"] if len(each) >= passwords.SHORTEST][:3000]


def is_refused(password: str, *known: str) -> bool:
    try:
        asyncio.run(passwords.refuse_weak(password, *known))
    except PasswordTooEasy:
        return True
    return False


def test_common_passwords_are_refused() -> None:
    assert len(COMMON) == 3000
    assert [each for each in COMMON if not is_refused(each)] == []


@pytest.mark.parametrize(
    "password", ["naru1234", "Naru2026", "grace.hopper", "Hopper1906", "nanosecond1", "Nanosecond"]
)
def test_words_around_the_account_are_refused(password: str) -> None:
    assert is_refused(password, "grace.hopper@nanosecond.example.org")


@pytest.mark.parametrize(
    "password",
    [
        "only lowercase words here",
        "나루터에서 배를 기다린다",
        "🛶🛶 ferry at dusk 🛶🛶",
        " spaces around it ",
        "Ferry at dusk! " * 16,
    ],
)
def test_password_counts_exactly_as_typed(ada: Visitor, engine: Engine, password: str) -> None:
    form = {"email": "new@example.org", "invitation": links.invite(engine, "user", days=1), "password": password}
    assert Visitor(ada.url).post("/sign-up", form).status == 303
    for other in (
        password[:-1],
        password.strip() if password != password.strip() else f"{password} ",
        password.swapcase(),
    ):
        if other != password:
            assert Visitor(ada.url).sign_in("new@example.org", other).status == 400
    visitor = Visitor(ada.url)
    assert visitor.sign_in("new@example.org", password).status == 303
    assert is_in(visitor)


def test_password_change_needs_the_current_one(ada: Visitor) -> None:
    new = {"password": "another sound passphrase"}
    for current in ({}, {"current": ""}, {"current": "wrong password"}):
        assert ada.post("/account/password", {**new, **current}).status == 400
    assert ada.sign_in().status == 303
    assert ada.post("/account/password", {**new, "current": PASSWORD}).status == 200
    assert Visitor(ada.url).sign_in().status == 400


def test_password_boxes_suit_password_managers(ada: Visitor, engine: Engine) -> None:
    invitation = links.invite(engine, "user", days=1)
    for path in ("/sign-in", f"/sign-up?invitation={invitation}"):
        body = Visitor(ada.url).ask(path).body
        (box,) = re.findall(r'<input[^>]* name="password"[^>]*>', body)
        assert 'type="password"' in box
        assert re.search(r'autocomplete="(current|new)-password"', box)
        assert "<script" not in body, "nothing can stop a paste"


def test_old_password_still_signs_in(ada: Visitor, engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE person SET created_at = now() - interval '10 years'"))
    assert ada.post("/sign-out").status == 303
    assert ada.sign_in().headers["location"] == "/"
    assert is_in(ada)
