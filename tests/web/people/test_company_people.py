"""People of the company: their groups, roles and identities, against a real provider."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import Engine, text

from shared.people import accounts, groups, identities
from shared.people.accounts import Person, Role
from shared.postgres.database import transaction
from tests.stack import Process, Stack, wait_until
from tests.web.company import SETTINGS, Company, begin, decide, sign_in, start_company, start_web
from tests.web.visitors import Visitor, is_in, person_of, says


@pytest.fixture(scope="module")
def company(stack: Stack) -> Company:
    """Start the provider."""
    return start_company(stack)


@pytest.fixture(scope="module")
def web(stack: Stack, company: Company) -> Process:
    """Start a web process that knows the provider only."""
    return start_web(stack, company, **SETTINGS)


@pytest.fixture(autouse=True)
def _as_usual(company: Company, web: Process) -> None:
    company.behave(forget=True)


@pytest.fixture
def visitor(web: Process) -> Visitor:
    """A browser that has opened the sign-in."""
    visitor = Visitor(web.url)
    assert ">The Company<" in visitor.ask("/sign-in").body
    return visitor


def people(engine: Engine) -> list[Person]:
    return accounts.everyone(engine)


@pytest.mark.parametrize("claim", [{"admins": True}, "naru-admins", 7, True, ["naru-admins", 7], [""], [["x"]]])
def test_groups_of_the_wrong_type_are_refused(
    company: Company, visitor: Visitor, engine: Engine, claim: object
) -> None:
    company.behave(people={"ada": {"groups": claim}})
    assert says(sign_in(visitor), "the claim has to be a list of names")
    assert people(engine) == []


def test_groups_that_are_elsewhere_are_refused(company: Company, visitor: Visitor) -> None:
    """Microsoft Entra leaves more than 200 groups out of the token."""
    company.behave(people={"ada": {"groups": None, "_claim_names": {"groups": "src1"}}})
    assert says(sign_in(visitor), "the claim has to be a list of names")


def test_groups_of_the_claim_are_kept_until_the_next_sign_in(
    company: Company, web: Process, visitor: Visitor, engine: Engine
) -> None:
    kept = []
    for given in (["Design", "Research", "x" * 101], ["Research"]):
        company.behave(people={"ada": {"groups": given}})
        assert sign_in(Visitor(web.url)).status == 303
        with transaction(engine) as connection:
            kept.append([group.name for group in groups.groups_of(connection, person_of(engine).id)])
    assert kept == [["Design", "Research"], ["Research"]], "a name that no group can have is left out"


def test_role_is_read_at_each_sign_in(company: Company, web: Process, visitor: Visitor, engine: Engine) -> None:
    roles = []
    for given in (["naru-audit", "x"], ["naru-audit", "Naru Owners"], []):
        before = Visitor(visitor.url, dict(visitor.cookies))
        company.behave(people={"ada": {"groups": given}, "eve": {"groups": ["naru-admins"]}})
        assert sign_in(Visitor(web.url), "eve").status == 303
        visitor = Visitor(web.url)
        assert sign_in(visitor).status == 303
        roles.append(person_of(engine).role)
        wait_until(partial(is_out, before), what="a new role ends the sessions")
    assert roles == [Role.AUDITOR, Role.ADMIN, Role.USER]


def is_out(visitor: Visitor) -> bool:
    return not is_in(visitor)


def test_only_administrator_keeps_the_role(company: Company, visitor: Visitor, engine: Engine) -> None:
    company.behave(people={"ada": {"groups": ["naru-admins"]}})
    sign_in(visitor)
    company.behave(people={"ada": {"groups": []}})
    assert sign_in(Visitor(visitor.url)).status == 303
    assert person_of(engine).role is Role.ADMIN


@pytest.mark.parametrize(
    ("present", "groups", "expected"),
    [
        (Role.USER, {"a"}, Role.AUDITOR),
        (Role.ADMIN, {"a"}, Role.ADMIN),
        (Role.ADMIN, set(), Role.ADMIN),
        (Role.AUDITOR, set(), Role.USER),
    ],
)
def test_groups_take_no_role_that_they_cannot_give(present: Role, groups: set[str], expected: Role) -> None:
    assert identities.role_of(present, frozenset(groups), {"a": "auditor"}) is expected


def test_only_allowed_groups_enter(stack: Stack, company: Company, engine: Engine) -> None:
    web = start_web(stack, company, oidc_allowed_groups="Naru Users, naru-admins")
    company.behave(people={"ada": {"groups": ["Naru Users", "others"]}, "eve": {"groups": ["others"]}})
    assert says(sign_in(Visitor(web.url), "eve"), "Ask the administrator to add you to a group")
    assert says(sign_in(Visitor(web.url), "mallory"), "Ask the administrator to add you to a group")
    assert sign_in(Visitor(web.url)).status == 303
    assert [each.email for each in people(engine)] == ["ada@example.org"]


def test_claim_within_a_claim_holds_the_groups(stack: Stack, company: Company, engine: Engine) -> None:
    web = start_web(stack, company, oidc_groups_claim="realm_access.roles", oidc_roles="auditor=naru-audit")
    company.behave(people={"ada": {"realm_access": {"roles": ["naru-audit"]}}})
    sign_in(Visitor(web.url))
    assert person_of(engine).role is Role.AUDITOR


def test_userinfo_completes_the_token(company: Company, visitor: Visitor, engine: Engine) -> None:
    company.behave(claims={"email": None, "groups": None}, people={"ada": {"groups": ["naru-audit"]}})
    assert sign_in(visitor).status == 303
    assert (person_of(engine).email, person_of(engine).role) == ("ada@example.org", Role.AUDITOR)


def test_disabled_person_cannot_enter(company: Company, visitor: Visitor, engine: Engine) -> None:
    sign_in(visitor)
    accounts.disable(engine, person_of(engine).id)
    wait_until(lambda: not is_in(visitor), what="the session has ended")
    company.behave(people={"ada": {"email": "new@example.org", "groups": ["naru-admins"]}})
    assert says(sign_in(visitor), "Your account is disabled.")
    assert not is_in(visitor)
    assert person_of(engine).role is Role.USER, "nothing half done"


@pytest.mark.parametrize(
    "claims",
    [{"email": None}, {"email": 7}, {"email": ["a@b"]}, {"email": "nobody"}, {"email_verified": False}],
    ids=str,
)
def test_person_without_a_sound_address_enters(
    company: Company, visitor: Visitor, engine: Engine, claims: dict[str, object]
) -> None:
    company.behave(people={"ada": claims})
    assert sign_in(visitor).status == 303
    (person,) = people(engine)
    assert (person.email, person.shown) == ("", "Ada")
    assert "<p>Ada</p>" in visitor.ask("/account").body


def test_identity_is_never_an_address(company: Company, web: Process, engine: Engine) -> None:
    """Two people with one address have two accounts, and one who gets another address keeps the account."""
    company.behave(people={"eve": {"email": "ada@example.org"}})
    sign_in(Visitor(web.url))
    sign_in(Visitor(web.url), "eve")
    assert [each.email for each in people(engine)] == ["ada@example.org"] * 2
    company.behave(people={"ada": {"email": "lovelace@example.org"}})
    sign_in(Visitor(web.url))
    assert [each.email for each in people(engine)] == ["ada@example.org", "lovelace@example.org"]


def test_issuer_that_changed_makes_no_second_account(company: Company, visitor: Visitor, engine: Engine) -> None:
    sign_in(visitor)
    before = people(engine)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE identity SET issuer = 'https://old.example'"))
    assert says(sign_in(Visitor(visitor.url)), "The address of your company&#x27;s sign-in service has changed")
    assert people(engine) == before
    assert identities.move(engine, old="https://old.example", new=company.issuer) == (1, 0)
    assert sign_in(Visitor(visitor.url)).status == 303
    assert people(engine) == before


def test_first_sign_ins_at_once_make_one_account(web: Process, engine: Engine) -> None:
    backs = [(visitor := Visitor(web.url), decide(begin(visitor))) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(lambda each: each[0].ask(each[1]).status, backs)) == {303}
    assert len(people(engine)) == 1
