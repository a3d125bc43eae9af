"""The second factor: setting it up, signing in with it, losing it, and what nobody can do with half a sign-in."""

from __future__ import annotations

import html
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyotp
import pytest
from sqlalchemy import Engine, text

from shared.audit import Kind
from shared.audit.events import Filter, newest
from shared.people import accounts, codes, factors, links
from shared.people.accounts import Role
from shared.people.sealing import Sealing, Unreadable
from shared.postgres.database import transaction
from tests.stack import Process, Stack, wait_until
from tests.web.clients import Answered
from tests.web.visitors import EMAIL, FAILURES, OTHER, PASSWORD, Visitor, is_in, person_of, says, visit
from web.api.people.admission import HALF_SECONDS, half_signer

SECRET = re.compile(r"secret=([A-Z2-7]{32})")
#: A code reaches the server within this time.
LEAST_SECONDS = 8
RECOVERY = re.compile(r"<code>([a-z2-7]{4}(?:-[a-z2-7]{4}){5})</code>")


def code_of(secret: str, *, steps: int = 0) -> str:
    """Return the app's code, now or some steps of 30 s later. Waits if the present step is about to end."""
    if (left := 30 - time.time() % 30) < LEAST_SECONDS:
        time.sleep(left)
    return str(pyotp.TOTP(secret).at(int(time.time()) + 30 * steps))


def hidden_in(page: Answered) -> str:
    """Return the sealed secret that the page keeps."""
    found = re.search(r'name="begun" value="([^"]+)"', page.body)
    assert found is not None, page.body
    return html.unescape(found[1])


def secret_in(page: Answered) -> str:
    found = SECRET.search(page.body)
    assert found is not None, page.body
    return found[1]


def switch_on(visitor: Visitor) -> tuple[str, list[str]]:
    """Set the factor up on the account's page; return the secret and the recovery codes."""
    shown = visitor.post("/account/factor/begin", {"current": PASSWORD})
    secret = secret_in(shown)
    done = visitor.post("/account/factor/confirm", {"begun": hidden_in(shown), "code": code_of(secret, steps=-1)})
    found = RECOVERY.findall(done.body)
    assert (done.status, len(found)) == (200, 10)
    return secret, found


def half(web: Process, email: str = EMAIL, password: str = PASSWORD) -> Visitor:
    """Return a new browser that has given the right password."""
    visitor = visit(web)
    answer = visitor.sign_in(email, password)
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in/code")
    return visitor


def enter(visitor: Visitor, code: str) -> Answered:
    return visitor.post("/sign-in/code", {"code": code})


def test_sign_in_needs_the_code(web: Process, ada: Visitor) -> None:
    secret, _ = switch_on(ada)
    assert is_in(ada)
    visitor = half(web)
    assert not is_in(visitor)
    assert visitor.ask("/account").headers["location"] == "/sign-in?c=account"
    assert visitor.ask("/api/export?format=json").status == 401
    assert visitor.ask("/sign-in/code").status == 200
    wrong = enter(visitor, "000000")
    assert says(wrong, "This code is wrong or was used already")
    assert not is_in(visitor)
    code = code_of(secret)
    answer = enter(visitor, f" {code[:3]} {code[3:]} ")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert is_in(visitor)
    assert not [name for name in visitor.cookies if "naru_half" in name]


def test_sign_in_is_recorded_with_its_factors(web: Process, ada: Visitor, engine: Engine) -> None:
    secret, _ = switch_on(ada)
    assert enter(half(web), code_of(secret)).status == 303
    found = newest(engine, Filter(kind=Kind.SIGNED_IN, person=person_of(engine).owner.key), most=5)
    assert [event.details["factors"] for event in found] == ["password, code", "password"]


def test_code_works_once(web: Process, ada: Visitor) -> None:
    secret, _ = switch_on(ada)
    code = code_of(secret)
    with ThreadPoolExecutor(4) as threads:
        statuses = list(threads.map(lambda visitor: enter(visitor, code).status, [half(web) for _ in range(4)]))
    assert sorted(statuses) == [303, 400, 400, 400]


def test_codes_of_the_steps_beside_are_accepted(web: Process, ada: Visitor, engine: Engine) -> None:
    secret, _ = switch_on(ada)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE second_factor SET last_step = 0"))
    assert enter(half(web), code_of(secret, steps=3)).status == 400
    assert enter(half(web), code_of(secret, steps=-3)).status == 400
    assert enter(half(web), code_of(secret, steps=-1)).status == 303
    assert enter(half(web), code_of(secret, steps=1)).status == 303
    assert enter(half(web), code_of(secret)).status == 400, "an older code than the last"


def test_recovery_codes_work_once_each(web: Process, ada: Visitor, engine: Engine) -> None:
    _, recovery = switch_on(ada)
    first, second = half(web), half(web)
    assert enter(first, recovery[0].upper().replace("-", " ")).status == 303
    assert says(enter(second, recovery[0]), "This code is wrong or was used already")
    assert enter(second, recovery[1]).status == 303
    found = factors.factor_of(engine, person_of(engine).id)
    assert found is not None
    assert found.codes_left == 8
    with transaction(engine) as connection:
        stored = connection.execute(text("SELECT string_agg(encode(code_hash, 'escape'), ' ') FROM recovery_code"))
        assert recovery[2] not in stored.scalar_one()


def test_guesses_at_codes_are_limited(web: Process, ada: Visitor, engine: Engine) -> None:
    secret, _ = switch_on(ada)
    visitor = half(web)
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda n: enter(visitor, f"00000{n}").status, range(8)))
    assert sorted(statuses) == [400] * FAILURES + [429] * (8 - FAILURES)
    assert enter(visitor, code_of(secret)).status == 429
    ada.post("/sign-out")
    assert ada.sign_in().status == 303
    assert enter(ada, code_of(secret)).status == 303, "a browser that has signed in before has its own attempts"


def test_half_a_sign_in_is_bound_to_its_browser(web: Process, ada: Visitor) -> None:
    secret, _ = switch_on(ada)
    visitor, other = half(web), visit(web)
    (name,) = (name for name in visitor.cookies if "naru_half" in name)
    other.cookies[name] = visitor.cookies[name]
    assert says(other.ask("/sign-in/code"), "Sign in again")
    assert enter(other, code_of(secret)).status == 400
    visitor.cookies[name] = visitor.cookies[name][:-2] + "AA"
    assert enter(visitor, code_of(secret)).status == 400


def test_half_a_sign_in_ends_with_the_password(web: Process, ada: Visitor, engine: Engine) -> None:
    secret, _ = switch_on(ada)
    visitor = half(web)
    link = links.allow_new_password(engine, person_of(engine).id, hours=1)
    assert visit(web).post("/new-password", {"link": link, "password": OTHER}).status == 200
    assert says(enter(visitor, code_of(secret)), "Sign in again")
    renewed = half(web, password=OTHER)
    assert enter(renewed, code_of(secret)).status == 303, "a new password leaves the factor on"


def test_half_a_sign_in_lasts_five_minutes(
    stack: Stack, web: Process, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, _ = switch_on(ada)
    visitor = half(web)
    (name,) = (name for name in visitor.cookies if "naru_half" in name)
    # The signature holds the time: a cookie of six minutes ago, made with the same key.
    signer = half_signer(stack.settings.secret_key)
    value = signer.unsign(visitor.cookies[name]).decode()
    monkeypatch.setattr(signer, "get_timestamp", lambda: int(time.time()) - HALF_SECONDS - 60)
    visitor.cookies[name] = signer.sign(value).decode()
    assert says(visitor.ask("/sign-in/code"), "Too much time has passed")
    assert enter(visitor, code_of(secret)).status == 400


def test_switching_on_and_off_ends_other_sessions(web: Process, ada: Visitor, engine: Engine) -> None:
    other = visit(web)
    assert other.sign_in().status == 303
    secret, recovery = switch_on(ada)
    wait_until(lambda: not is_in(other), what="the other session has ended")
    other = half(web)
    assert enter(other, code_of(secret)).status == 303
    assert says(ada.post("/account/factor/off", {"current": PASSWORD, "code": "123456"}), "This code is wrong")
    assert says(ada.post("/account/factor/off", {"current": "wrong", "code": recovery[0]}), "the password is wrong")
    assert factors.is_on(engine, person_of(engine).id)
    assert "is off" in ada.post("/account/factor/off", {"current": PASSWORD, "code": recovery[0]}).body
    wait_until(lambda: not is_in(other), what="the other session has ended")
    assert is_in(ada)
    assert visit(web).sign_in().headers["location"] == "/"


def test_begun_factor_changes_nothing(web: Process, ada: Visitor, engine: Engine) -> None:
    assert says(ada.post("/account/factor/begin", {"current": "wrong password"}), "the password is wrong")
    shown = ada.post("/account/factor/begin", {"current": PASSWORD})
    assert "<svg" in shown.body
    wrong = ada.post("/account/factor/confirm", {"begun": hidden_in(shown), "code": "000000"})
    assert secret_in(wrong) == secret_in(shown), "the app has read it"
    assert not factors.is_on(engine, person_of(engine).id)
    assert visit(web).sign_in().headers["location"] == "/"


def test_begun_secret_is_of_one_person(web: Process, ada: Visitor, engine: Engine) -> None:
    visitor = Visitor(web.url)
    visitor.sign_up(engine, "second@example.org")
    shown = visitor.post("/account/factor/begin", {"current": PASSWORD})
    form = {"begun": hidden_in(shown), "code": code_of(secret_in(shown))}
    assert ada.post("/account/factor/confirm", form).headers["location"] == "/account/factor"
    assert not factors.is_on(engine, person_of(engine).id)
    switch_on(ada)
    assert ada.post("/account/factor/begin", {"current": PASSWORD}).headers["location"] == "/account/factor"


def test_new_recovery_codes_replace_the_old(web: Process, ada: Visitor) -> None:
    secret, old = switch_on(ada)
    renewed = ada.post("/account/factor/codes", {"current": PASSWORD, "code": code_of(secret)})
    new = RECOVERY.findall(renewed.body)
    assert len(new) == 10
    visitor = half(web)
    assert enter(visitor, old[0]).status == 400
    assert enter(visitor, new[0]).status == 303


def test_deleting_the_account_needs_the_code(web: Process, ada: Visitor, engine: Engine) -> None:
    visitor = Visitor(web.url)
    visitor.sign_up(engine, "second@example.org")
    _, recovery = switch_on(visitor)
    assert says(visitor.post("/account/delete", {"current": PASSWORD}), "This code is wrong")
    assert is_in(visitor)
    deleted = visitor.post("/account/delete", {"current": PASSWORD, "code": recovery[0]})
    assert "Your account is deleted" in deleted.body
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM second_factor, recovery_code")).scalar_one() == 0


def test_needed_factor_is_set_up_at_the_sign_in(stack: Stack, web: Process, ada: Visitor, engine: Engine) -> None:
    """Sessions of administrators without one count no more once it is needed."""
    Visitor(web.url).sign_up(engine, "second@example.org")
    strict = stack.start_web(auth="local", second_factor="admins")
    here = replace(ada, url=strict.url)
    assert not is_in(here)
    assert visit(strict).sign_in("second@example.org").headers["location"] == "/"
    visitor = visit(strict)
    assert visitor.sign_in().headers["location"] == "/sign-in/enrol"
    assert not is_in(visitor)
    assert 'name="c" value="admin-people"' in visitor.ask("/sign-in/enrol?c=admin-people").body
    shown = visitor.ask("/sign-in/enrol")
    form = {"begun": hidden_in(shown), "code": "000000"}
    assert says(visitor.post("/sign-in/enrol", form), "This code is wrong")
    done = visitor.post("/sign-in/enrol", {**form, "code": code_of(secret_in(shown), steps=-1)})
    recovery = RECOVERY.findall(done.body)
    assert len(recovery) == 10
    assert is_in(visitor)
    refused = visitor.post("/account/factor/off", {"current": PASSWORD, "code": recovery[0]})
    assert "Accounts like yours need two-step sign-in here" in refused.body
    assert factors.is_on(engine, person_of(engine).id)
    assert visit(strict).sign_in().headers["location"] == "/sign-in/code"
    accounts.set_role(engine, person_of(engine, "second@example.org").id, Role.ADMIN)
    assert visit(strict).sign_in("second@example.org").headers["location"] == "/sign-in/enrol"


def test_new_account_sets_up_a_needed_factor(stack: Stack, engine: Engine) -> None:
    strict = stack.start_web(auth="local", second_factor="everyone")
    visitor = visit(strict)
    assert visitor.sign_up(engine).headers["location"] == "/sign-in/enrol"
    assert not is_in(visitor)
    assert visitor.ask("/sign-in/enrol").status == 200


def test_secret_outlives_a_new_key(stack: Stack, web: Process, ada: Visitor, engine: Engine) -> None:
    """After `keys rotate`, the restarted web encrypts it anew, so that `keys drop` loses nothing."""
    secret, _ = switch_on(ada)
    old = stack.settings.secret_key
    new = "rotated-" + "r" * 32
    rotated = stack.start_web(auth="local", secret_key=f"{new},{old}")
    assert enter(half(rotated), code_of(secret)).status == 303
    wait_until(lambda: key_id_of(engine) == Sealing(new).key_id, seconds=20, what="the secret is encrypted anew")
    dropped = stack.start_web(auth="local", secret_key=new)
    assert enter(half(dropped), code_of(secret, steps=1)).status == 303


def key_id_of(engine: Engine) -> str:
    with transaction(engine) as connection:
        return str(connection.execute(text("SELECT key_id FROM second_factor")).scalar_one())


def test_recovery_code_works_without_the_key(stack: Stack, web: Process, ada: Visitor) -> None:
    secret, recovery = switch_on(ada)
    foreign = stack.start_web(auth="local", secret_key="foreign-" + "f" * 32)
    visitor = half(foreign)
    assert enter(visitor, code_of(secret)).status == 400
    assert "second factor unreadable" in foreign.log_text()
    assert enter(visitor, recovery[0]).status == 303


def test_stored_secret_is_encrypted(ada: Visitor, engine: Engine) -> None:
    secret, _ = switch_on(ada)
    with transaction(engine) as connection:
        stored = connection.execute(text("SELECT secret FROM second_factor")).scalar_one()
    assert secret not in stored
    with pytest.raises(Unreadable):
        Sealing("another-" + "k" * 32).open(stored)


def test_recovery_codes_have_enough_random_bits(engine: Engine, ada: Visitor) -> None:
    sealing = Sealing("k" * 64)
    begun = codes.begin(person_of(engine).id, EMAIL, sealing)
    made = codes.switch_on(engine, person_of(engine).id, begun, pyotp.TOTP(begun.secret).now(), sealing)
    letters = [code.replace("-", "") for code in made]
    assert len(set(letters)) == 10
    assert all(len(each) * 5 >= 112 and set(each) <= set("abcdefghijklmnopqrstuvwxyz234567") for each in letters)
