"""The pages of use: one's own for everybody, everybody's for administrators only."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import Engine, func, insert, text

from shared.people import Owner, accounts, groups
from shared.people.accounts import Role
from shared.postgres.database import transaction
from shared.spending.limits import of_group, set_limits
from shared.spending.values import Limits
from shared.tables import spending
from tests.stack import Process, wait_until
from tests.web.visitors import EMAIL, Visitor, is_in, person_of

OTHER = "second@example.org"
EVERYONES = ("/usage/everyone", "/usage/everyone.csv?month=2026-11")


def spend(engine: Engine, owner: Owner, *, model: str = "openai/one", cost: str = "1.5", unpriced: int = 0) -> None:
    """Record three answers of this hour."""
    values = {
        "owner_id": owner.key,
        "hour": func.date_trunc("hour", func.now()),
        "model": model,
        "attempts": 3,
        "input_tokens": 1000,
        "output_tokens": 234,
        "cached_input_tokens": 0,
        "cost": Decimal(cost),
        "unpriced": unpriced,
        "estimated": 0,
    }
    with transaction(engine) as connection:
        connection.execute(insert(spending).values(values))


@pytest.fixture(autouse=True)
def _nothing_used(engine: Engine, _empty: None) -> None:
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE spending, quota, person_group CASCADE"))


@pytest.fixture
def ben(web: Process, engine: Engine, ada: Visitor) -> Visitor:
    """A second person, without a role."""
    visitor = Visitor(web.url)
    assert visitor.sign_up(engine, OTHER).status == 303
    return visitor


def this_month() -> str:
    return f"{datetime.now(UTC):%Y-%m}"


def test_person_sees_only_their_own_use(engine: Engine, ada: Visitor, ben: Visitor) -> None:
    spend(engine, person_of(engine).owner, unpriced=2)
    shown = ada.ask("/usage")
    assert shown.status == 200
    assert all(each in shown.body for each in ("openai/one", "1,234", "$1.50", "2 without a known price"))
    other = ben.ask("/usage")
    assert "openai/one" not in other.body
    assert "Nothing was used" in other.body
    assert "/usage/everyone" in shown.body
    assert "/usage/everyone" not in other.body


def test_limits_show_what_is_used(engine: Engine, ada: Visitor) -> None:
    person = person_of(engine)
    spend(engine, person.owner)
    assert "Your use is not limited." in ada.ask("/usage").body
    groups.join(engine, person.id, "R&D <1>")
    with transaction(engine) as connection:
        set_limits(connection, person.owner.key, Limits(tokens_per_day=2000))
        set_limits(connection, of_group(groups.group_with(engine, "R&D <1>").id), Limits(money_per_month=Decimal(9)))
    body = ada.ask("/usage").body
    assert "1,234 of 2,000" in body
    assert "Cost this month (R&amp;D &lt;1&gt;, together): $1.50 of $9.00" in body


def test_page_speaks_korean(engine: Engine, ada: Visitor) -> None:
    assert "사용량 제한이 없습니다." in ada.ask("/usage", accept_language="ko").body


@pytest.mark.parametrize("path", EVERYONES)
def test_everyones_use_is_for_administrators(
    engine: Engine, web: Process, ada: Visitor, ben: Visitor, path: str
) -> None:
    assert ada.ask(path).status == 200
    nobody = Visitor(web.url).ask(path)
    assert (nobody.status, nobody.headers["location"]) == (303, "/sign-in?c=everyone")
    assert ben.ask(path).status == 403
    accounts.set_role(engine, accounts.person_with(engine, OTHER).id, Role.AUDITOR)
    wait_until(lambda: not is_in(ben), what="the session has ended")
    assert ben.ask(path).status == 303
    ben.sign_in(OTHER)
    assert ben.ask(path).status == 403
    accounts.set_role(engine, accounts.person_with(engine, OTHER).id, Role.ADMIN)
    ben.sign_in(OTHER)
    assert ben.ask(path).status == 200


def test_everyones_use_is_summed_by_person_group_and_model(engine: Engine, ada: Visitor, ben: Visitor) -> None:
    groups.join(engine, person_of(engine).id, "Design")
    for email in (EMAIL, OTHER):
        spend(engine, accounts.person_with(engine, email).owner)
    spend(engine, accounts.person_with(engine, OTHER).owner, model="openai/two", cost="0.001")
    body = ada.ask("/usage/everyone").body
    assert all(each in body for each in (EMAIL, OTHER, "Design", "No group", "openai/two", "$3.00", "&lt;$0.01"))
    assert "Nothing was used" in ada.ask("/usage/everyone?month=2020-01").body


def test_csv_file_has_a_line_for_each_person_and_model(engine: Engine, ada: Visitor) -> None:
    groups.join(engine, person_of(engine).id, "=1+1")
    spend(engine, person_of(engine).owner)
    spend(engine, person_of(engine).owner, model="openai/two", cost="0.25")
    answer = ada.ask(f"/usage/everyone.csv?month={this_month()}")
    assert answer.headers["content-disposition"] == f'attachment; filename="naru-usage-{this_month()}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.body.removeprefix("\ufeff"))))
    assert [(row["email"], row["model"], row["cost_usd"]) for row in rows] == [
        (EMAIL, "openai/one", "1.500000"),
        (EMAIL, "openai/two", "0.250000"),
    ]
    assert rows[0]["groups"] == "'=1+1", "a spreadsheet must not run it"
    assert (rows[0]["input_tokens"], rows[0]["output_tokens"]) == ("1000", "234")


@pytest.mark.parametrize("month", ["", "2026-13", "november", "2026-11'--", "9999-99"])
def test_wrong_month_is_refused(ada: Visitor, month: str) -> None:
    refused = ada.ask(f"/usage/everyone.csv?month={month}")
    assert (refused.status, refused.data["error"]) == (400, "bad_month")
    assert ada.ask(f"/usage/everyone?month={month}").status == 200
