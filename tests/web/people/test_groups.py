"""Groups give models and a role: who may use a model, and what a member may see."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from shared.errors import HoldsCardNumber, NotFound
from shared.fleet import Fleet, Model
from shared.lifecycle import Question
from shared.people import Owner, accounts, groups
from shared.people.accounts import Person
from shared.people.refusals import BadModelPattern
from shared.postgres.database import transaction
from shared.settings import Settings
from shared.spending.refusals import ModelNotAllowed
from tests.stack import Process, Stack, wait_until
from tests.web.visitors import Visitor, is_in, person_of
from web.allowances import Allowances
from web.runtime import Runtime

OTHER = "second@example.org"
MODELS = ("openai/o3", "openai/o3-pro", "openai/4")
FLEET = Fleet(live_workers=1, slots=1, models=tuple(Model(name=name, demo=False) for name in MODELS))


@pytest.fixture(autouse=True)
def _no_groups(engine: Engine, _empty: None) -> None:
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE person_group CASCADE"))


@pytest.fixture
def local(stack: Stack) -> Settings:
    return replace(stack.settings, auth="local")


@pytest.fixture
def ben(web: Process, engine: Engine, ada: Visitor) -> Visitor:
    visitor = Visitor(web.url)
    assert visitor.sign_up(engine, OTHER).status == 303
    return visitor


@pytest.fixture
def other(engine: Engine, ben: Visitor) -> Person:
    return accounts.person_with(engine, OTHER)


def usable(engine: Engine, settings: Settings, owner: Owner) -> list[str]:
    return [model.name for model in Allowances(engine, settings).usable(owner, FLEET).models]


def test_reserved_model_is_for_members_only(engine: Engine, local: Settings, other: Person) -> None:
    ada = person_of(engine).owner
    assert usable(engine, local, ada) == list(MODELS)
    groups.join(engine, other.id, "Research")
    groups.set_models(engine, groups.group_with(engine, "Research").id, ["openai/o3*"])
    assert usable(engine, local, ada) == ["openai/4"]
    assert usable(engine, local, other.owner) == list(MODELS)
    allowances = Allowances(engine, local)
    assert not allowances.may_use(ada, "openai/o3")
    assert not allowances.may_use(ada, ""), "Naru could choose a reserved one"
    assert allowances.may_use(other.owner, "openai/o3")


def test_question_meets_the_rules_of_groups(engine: Engine, local: Settings, other: Person) -> None:
    groups.join(engine, other.id, "Research")
    group = groups.group_with(engine, "Research")
    groups.set_models(engine, group.id, ["openai/o3"])
    groups.guard(engine, group.id, "block")
    runtime = Runtime(replace(local, secret_key="k" * 64))

    def ask(owner: Owner, words: str, model: str) -> None:
        question = Question(owner=owner, conversation_id=uuid4(), text=words, idempotency_key=uuid4().hex, model=model)
        runtime.submit(question, client="127.0.0.1")

    try:
        with pytest.raises(ModelNotAllowed):
            ask(person_of(engine).owner, "Why?", "openai/o3")
        with pytest.raises(HoldsCardNumber):
            ask(other.owner, "Is 4111 1111 1111 1111 a card?", "openai/o3")
        ask(person_of(engine).owner, "Is 4111 1111 1111 1111 a card?", "openai/4")
    finally:
        runtime.dispatcher.close()
        runtime.engine.dispose()


def test_model_of_two_groups_is_for_both(engine: Engine, local: Settings, other: Person) -> None:
    person = person_of(engine)
    for member, name in ((person, "Design"), (other, "Research")):
        groups.join(engine, member.id, name)
        groups.set_models(engine, groups.group_with(engine, name).id, ["openai/o3"])
    assert all("openai/o3" in usable(engine, local, each.owner) for each in (person, other))


def test_strictest_guard_of_personal_data_holds(engine: Engine, local: Settings, other: Person) -> None:
    def policies(setting: str) -> list[str]:
        allowances = Allowances(engine, replace(local, personal_data=setting))
        return [allowances.personal_data(owner) for owner in (person_of(engine).owner, other.owner)]

    for name in ("Payroll", "Design"):
        groups.join(engine, other.id, name)
    assert policies("send") == ["send", "send"]
    groups.guard(engine, groups.group_with(engine, "Payroll").id, "block")
    groups.guard(engine, groups.group_with(engine, "Design").id, "warn")
    assert policies("send") == ["send", "block"]
    assert policies("warn") == ["warn", "block"]
    groups.guard(engine, groups.group_with(engine, "Payroll").id, "")
    assert policies("send") == ["send", "warn"]
    assert policies("block") == ["block", "block"]


def test_guests_have_every_model(engine: Engine, local: Settings, other: Person) -> None:
    groups.join(engine, other.id, "Research")
    groups.set_models(engine, groups.group_with(engine, "Research").id, ["*/*"])
    guest = Owner("browser", "someone")
    assert usable(engine, replace(local, auth="guest"), guest) == list(MODELS)


@pytest.mark.parametrize("wrong", ["o3", "openai/", "openai/[o]3", "openai/o 3", "/o3"])
def test_wrong_pattern_is_refused(engine: Engine, other: Person, wrong: str) -> None:
    groups.join(engine, other.id, "Research")
    group = groups.group_with(engine, "Research")
    with pytest.raises(BadModelPattern):
        groups.set_models(engine, group.id, [wrong])
    assert groups.group_with(engine, "Research").models == ()
    with pytest.raises(NotFound):
        groups.group_with(engine, "Nobody")


def test_role_of_a_group_holds_for_its_members(engine: Engine, ben: Visitor, other: Person) -> None:
    groups.join(engine, other.id, "Operators")
    group = groups.group_with(engine, "Operators")
    assert ben.ask("/usage/everyone").status == 403
    groups.set_role(engine, group.id, "admin")
    wait_until(lambda: not is_in(ben), what="the session has ended")
    ben.sign_in(OTHER)
    assert ben.ask("/usage/everyone").status == 200
    groups.leave(engine, other.id, group.id)
    wait_until(lambda: not is_in(ben), what="the session has ended")
    ben.sign_in(OTHER)
    assert ben.ask("/usage/everyone").status == 403
