"""Limits on the page for administrators: changed, refused, recorded, and kept by other processes."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from streamlit.proto.WidgetStates_pb2 import WidgetState

from shared.people import Owner, groups
from shared.postgres.database import transaction
from shared.spending.limits import of_group, of_members, set_limits, stored
from shared.spending.refusals import TokensOfDayUsed
from shared.spending.values import Limits
from tests.stack import Stack, wait_until
from tests.web.people.test_administration import SECOND, click, second
from tests.web.socket import PageSocket
from tests.web.visitors import Visitor, person_of
from web.allowances import Allowances

PAGE = "page=admin&part=people"


@pytest.fixture
def page(ada: Visitor, engine: Engine) -> Iterator[PageSocket]:
    """The page of an administrator with the second person open; there is a group, Design."""
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE quota, person_group CASCADE"))
    second(ada, engine, "user")
    groups.join(engine, person_of(engine, SECOND).id, "Design")
    with PageSocket(ada.url, ada.cookie) as found:
        found.run_at(PAGE)
        yield found.run_at(PAGE, click(found.button(f"admin-person-{person_of(engine, SECOND).id}")))


def subject_of(engine: Engine) -> str:
    return person_of(engine, SECOND).owner.key


def limits_of(engine: Engine, subject: str) -> Limits:
    with transaction(engine) as connection:
        return stored(connection, [subject]).get(subject, Limits())


def typed(page: PageSocket, subject: str, **values: str) -> list[WidgetState]:
    """Return the messages of the boxes with these values, and of the button below them."""
    boxes = {name: page.text_box(f"admin-limit-{subject}-{name}").id for name in values}
    return [
        *(WidgetState(id=boxes[name], string_value=value) for name, value in values.items()),
        click(page.button(f"admin-limits-set-{subject}")),
    ]


def choose_group(page: PageSocket) -> None:
    """Choose the only group."""
    chosen = next(
        frame.delta.new_element.selectbox
        for frame in reversed(page.frames)
        if "admin-group-chosen" in frame.delta.new_element.selectbox.id
    )
    page.run_at(PAGE, WidgetState(id=chosen.id, string_value="Design"))


def test_limits_of_a_person_are_stored_and_recorded(page: PageSocket, engine: Engine) -> None:
    subject = subject_of(engine)
    page.run_at(PAGE, *typed(page, subject, tokens_per_day="2000", money_per_month="1.50"))
    assert page.drew("The limits are changed")
    assert limits_of(engine, subject) == Limits(tokens_per_day=2000, money_per_month=Decimal("1.5"))
    assert page.text_box(f"admin-limit-{subject}-money_per_month").value == "1.5"
    with transaction(engine) as connection:
        newest = "SELECT actor, subject, details->>'limits' FROM audit_event WHERE kind = 'limits_changed'"
        event = connection.execute(text(f"{newest} ORDER BY seq DESC LIMIT 1")).one()
    assert tuple(event) == (person_of(engine).owner.key, subject, "tokens_per_day 2000, money_per_month 1.50")


@pytest.mark.parametrize("wrong", ["-1", "many", "1.5", "NaN", "99999999999", "1,5"])
def test_wrong_limit_changes_nothing(page: PageSocket, engine: Engine, wrong: str) -> None:
    subject = subject_of(engine)
    page.run_at(PAGE, *typed(page, subject, tokens_per_month="5", tokens_per_day=wrong))
    assert page.drew("is not a whole number from 0")
    assert limits_of(engine, subject) == Limits()


def test_empty_box_unsets_a_limit(page: PageSocket, engine: Engine) -> None:
    subject = subject_of(engine)
    page.run_at(PAGE, *typed(page, subject, tokens_per_day="0", tokens_per_month="7"))
    page.run_at(PAGE, *typed(page, subject, tokens_per_day=""))
    assert limits_of(engine, subject) == Limits(tokens_per_month=7)


def test_untouched_box_undoes_no_other_change(page: PageSocket, engine: Engine) -> None:
    subject = subject_of(engine)
    with transaction(engine) as connection:
        set_limits(connection, subject, Limits(tokens_per_month=9))
    page.run_at(PAGE, *typed(page, subject, tokens_per_day="3", tokens_per_month=""))
    assert limits_of(engine, subject) == Limits(tokens_per_day=3, tokens_per_month=9)


def test_limits_of_a_group_are_stored(page: PageSocket, engine: Engine) -> None:
    group = groups.group_with(engine, "Design")
    choose_group(page)
    page.run_at(PAGE, *typed(page, of_members(group.id), active_questions="2"))
    page.run_at(PAGE, *typed(page, of_group(group.id), money_per_month="300"))
    assert limits_of(engine, of_members(group.id)) == Limits(active_questions=2)
    assert limits_of(engine, of_group(group.id)) == Limits(money_per_month=Decimal(300))


def test_models_of_a_group_are_stored(page: PageSocket, engine: Engine) -> None:
    group = groups.group_with(engine, "Design")
    choose_group(page)
    box = page.text_box(f"admin-limit-{of_group(group.id)}-models").id
    page.run_at(PAGE, WidgetState(id=box, string_value="openai/o3*, ollama/x"), click(page.button("admin-models-set")))
    assert groups.group_with(engine, "Design").models == ("ollama/x", "openai/o3*")
    page.run_at(PAGE, WidgetState(id=box, string_value="nonsense"), click(page.button("admin-models-set")))
    assert page.drew("A model is provider/model")
    assert groups.group_with(engine, "Design").models == ("ollama/x", "openai/o3*")


def test_group_that_is_gone_gets_no_limits(page: PageSocket, engine: Engine) -> None:
    group = groups.group_with(engine, "Design")
    choose_group(page)
    messages = typed(page, of_members(group.id), tokens_per_day="5")
    with transaction(engine) as connection:
        groups.remove(connection, group.id)
    page.run_at(PAGE, *messages)
    assert limits_of(engine, of_members(group.id)) == Limits()


def test_forged_limits_of_a_user_change_nothing(page: PageSocket, ada: Visitor, engine: Engine) -> None:
    user = Visitor(ada.url)
    user.sign_in(SECOND)
    messages = typed(page, subject_of(engine), tokens_per_day="5")
    with PageSocket(ada.url, user.cookie) as other:
        other.run_at(PAGE)
        other.run_at(PAGE, *messages)
        assert not other.drew("The limits are changed")
    assert limits_of(engine, subject_of(engine)) == Limits()


def test_other_processes_follow_within_seconds(page: PageSocket, stack: Stack, engine: Engine) -> None:
    subject = subject_of(engine)
    other = Allowances(engine, stack.settings)
    owner = Owner.person(UUID(subject.partition(":")[2]))
    spend(engine, owner)
    other.of_question(owner)
    page.run_at(PAGE, *typed(page, subject, tokens_per_day="1"))
    assert wait_until(lambda: is_refused(other, owner), what="another process refuses")


def spend(engine: Engine, owner: Owner) -> None:
    used = (
        "INSERT INTO spending (owner_id, hour, model, attempts, input_tokens, output_tokens, cached_input_tokens, cost,"
        " unpriced, estimated) VALUES (:owner, date_trunc('hour', now()), 'openai/x', 1, 10, 10, 0, 0, 0, 0)"
    )
    with transaction(engine) as connection:
        connection.execute(text(used), {"owner": owner.key})


def is_refused(allowances: Allowances, owner: Owner) -> bool:
    try:
        allowances.of_question(owner)
    except TokensOfDayUsed:
        return True
    return False
