"""Tests of spending: each ending settles once, limits hold over all processes, and days begin where people live."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select, update

from shared import lifecycle
from shared.errors import OTHERS_FIRST, PRICE_UNKNOWN
from shared.lifecycle import Answer, Claimed
from shared.people import Owner, groups
from shared.people.refusals import BadGroupName
from shared.settings import Settings
from shared.spending import limits
from shared.spending.refusals import (
    GroupLimitUsed,
    MoneyOfMonthUsed,
    SpendingReached,
    TokensOfDayUsed,
    TokensOfMonthUsed,
)
from shared.spending.values import Limits, Reservation, Spent, limit_of
from shared.tables import Outcome, quota, request_attempt, spending
from tests.shared.rig import OWNER, STRANGER, RequestRig, make_person
from tests.shared.together import together

THOUSANDTH = Decimal("0.001")
SMALL = Reservation(
    prompt_tokens=10, tokens=110, cost=110 * THOUSANDTH, input_price=THOUSANDTH, output_price=THOUSANDTH
)
SPENT = Spent(input_tokens=12, output_tokens=30, cost=Decimal("0.042"))


@pytest.fixture
def limited(rig_settings: Settings) -> Settings:
    return replace(rig_settings, money_per_month=1.0)


def set_limits(rig: RequestRig, subject: str, **values: Any) -> None:
    with rig.begin() as connection:
        limits.set_limits(connection, subject, Limits(**values))


def running_of(rig: RequestRig, owner: Owner, worker_id: UUID | None = None) -> Claimed:
    return rig.claim(rig.ask(owner=owner).request_id, worker_id or rig.worker())


def allowances(rig: RequestRig, owner: Owner, settings: Settings) -> list[limits.Allowance]:
    with rig.begin() as connection:
        return limits.allowances_of(connection, owner, settings)


def sums(rig: RequestRig) -> dict[str, Any]:
    """Return the sums of all attempts, and of all rows of `spending`, under the same names."""
    names = ("input_tokens", "output_tokens", "cached_input_tokens", "cost")
    a, s = request_attempt.c, spending.c
    with rig.begin() as connection:
        by_attempt = connection.execute(
            select(
                *(func.coalesce(func.sum(a[name]), 0) for name in names),
                func.count(a.input_tokens),
                func.count().filter(a.cost.is_(None)),
                func.count().filter(a.is_estimated),
            ).where(a.ended_at.is_not(None), a.input_tokens + a.output_tokens > 0)
        ).one()
        columns = [*(s[name] for name in names), s.attempts, s.unpriced, s.estimated]
        by_hour = connection.execute(select(*(func.coalesce(func.sum(each), 0) for each in columns))).one()
    return {"attempts": tuple(by_attempt), "spending": tuple(by_hour)}


def test_finish_adds_what_the_provider_reported(rig: RequestRig) -> None:
    claimed = rig.running()
    assert lifecycle.finish(rig.engine, claimed, Answer(text="Because.", spent=SPENT))
    (row,) = rig.rows(spending)
    assert (row["owner_id"], row["model"], row["attempts"]) == (OWNER.key, claimed.model, 1)
    assert (row["input_tokens"], row["output_tokens"], row["cost"]) == (12, 30, Decimal("0.042"))
    assert (row["unpriced"], row["estimated"]) == (0, 0)
    assert row["hour"] == row["hour"].replace(minute=0, second=0, microsecond=0)


def test_unknown_price_is_no_zero(rig: RequestRig) -> None:
    lifecycle.finish(rig.engine, rig.running(), Answer(text="Yes.", spent=replace(SPENT, cost=None)))
    (row,) = rig.rows(spending)
    assert (row["cost"], row["unpriced"]) == (0, 1)


def test_refused_call_adds_nothing(rig: RequestRig) -> None:
    lifecycle.fail(rig.engine, rig.running(), Answer(text="", spent=Spent()), code="auth_failed")
    assert rig.rows(spending) == []


def test_lost_attempt_is_settled_from_its_reservation(rig: RequestRig, limited: Settings) -> None:
    claimed = rig.running()
    assert lifecycle.reserve(rig.engine, claimed, SMALL, limited) is None
    with rig.begin() as connection:
        connection.execute(update(request_attempt).values(checkpoint="x" * 90))
    rig.lose(claimed.worker_id)
    attempt = rig.attempt(claimed.request_id, 1)
    assert (attempt["input_tokens"], attempt["output_tokens"], attempt["cost"]) == (10, 30, Decimal("0.040"))
    assert attempt["is_estimated"]
    (row,) = rig.rows(spending)
    assert (row["attempts"], row["estimated"], row["cost"]) == (1, 1, Decimal("0.040"))


def test_sums_equal_the_attempts_after_mixed_endings(rig: RequestRig, limited: Settings) -> None:
    """Each ending of an attempt, by worker and reconciler, in random order; `ENDINGS` times."""
    drawn, worker_id, ended = random.Random(3), rig.worker(), Counter[str]()
    for number in range(ENDINGS):
        claimed = running_of(rig, drawn.choice([OWNER, STRANGER]), worker_id)
        if drawn.random() < 0.7:
            lifecycle.reserve(rig.engine, claimed, SMALL, replace(limited, money_per_month=1e6))
        ended[end_somehow(rig, claimed, drawn)] += 1
        if number % 40 == 39:
            rig.lose(worker_id)
            worker_id = rig.worker()
    assert len(ended) == 7
    found = sums(rig)
    assert found["attempts"] == found["spending"]
    assert found["spending"][0] > 0


ENDINGS = 200


def end_somehow(rig: RequestRig, claimed: Claimed, drawn: random.Random) -> str:
    """End the attempt in one of seven ways; return its name."""
    used = drawn.choice([None, Spent(), SPENT, replace(SPENT, cost=None), replace(SPENT, is_estimated=True)])
    answer = Answer(text="Partial.", spent=used)
    ways: dict[str, Any] = {
        "finish": lambda: lifecycle.finish(rig.engine, claimed, answer),
        "fail": lambda: lifecycle.fail(rig.engine, claimed, answer, code="overloaded"),
        "release": lambda: lifecycle.release(
            rig.engine, claimed, text="Part", outcome=Outcome.RELEASED, code="overloaded", wait_seconds=900, spent=used
        ),
        "give back": lambda: lifecycle.give_back(
            rig.engine, claimed.request_id, attempt=claimed.attempt, worker_id=claimed.worker_id
        ),
        "stop": lambda: stop(rig, claimed, answer),
        "expire": lambda: expire(rig, claimed),
        "leave running": lambda: None,
    }
    way = drawn.choice(list(ways))
    ways[way]()
    return way


def stop(rig: RequestRig, claimed: Claimed, answer: Answer) -> None:
    (row,) = [rig.row(claimed.request_id)]
    lifecycle.stop(rig.engine, claimed.request_id, owner=Owner.from_key(row["owner_id"]))
    assert lifecycle.cancel(rig.engine, claimed, answer)


def expire(rig: RequestRig, claimed: Claimed) -> None:
    rig.put(claimed.request_id, deadline_at=rig.ago(1))
    with rig.begin() as connection:
        assert lifecycle.expire(connection, [claimed.request_id]) == 1


def test_limit_holds_for_twenty_workers(rig: RequestRig, limited: Settings) -> None:
    """Each reserves 0.11 of 1.00: nine may begin; the others wait until these have settled."""
    claims = [running_of(rig, OWNER) for _ in range(20)]
    reasons = together(*[lambda each=each: lifecycle.reserve(rig.engine, each, SMALL, limited) for each in claims])
    assert Counter(reasons) == {None: 9, OTHERS_FIRST: 11}


def test_money_never_exceeds_the_limit_by_more_than_an_answer(rig: RequestRig, limited: Settings) -> None:
    """Twenty workers answer one owner's questions until the limit is used up."""
    dear = replace(SPENT, cost=110 * THOUSANDTH)

    def work() -> None:
        while True:
            claimed = running_of(rig, OWNER)
            reason = lifecycle.reserve(rig.engine, claimed, SMALL, limited)
            if reason is None:
                lifecycle.finish(rig.engine, claimed, Answer(text="Yes.", spent=dear))
                continue
            lifecycle.fail(rig.engine, claimed, Answer(text="", spent=Spent()), code=reason)
            if reason == MoneyOfMonthUsed.code:
                return

    together(*[work] * 20)
    (own,) = allowances(rig, OWNER, limited)
    assert Decimal("1.00") <= own.used.money_this_month <= Decimal("1.00") + 110 * THOUSANDTH
    assert own.used.running == 0


def test_attempt_alone_may_use_the_rest(rig: RequestRig, limited: Settings) -> None:
    lifecycle.finish(rig.engine, rig.running(), Answer(text="", spent=replace(SPENT, cost=Decimal("0.95"))))
    assert lifecycle.reserve(rig.engine, rig.running(), SMALL, limited) is None
    assert lifecycle.reserve(rig.engine, rig.running(), SMALL, limited) == OTHERS_FIRST


def test_unknown_price_can_be_refused(rig: RequestRig, limited: Settings) -> None:
    unknown = Reservation(prompt_tokens=10, tokens=110)
    assert lifecycle.reserve(rig.engine, rig.running(), unknown, limited) is None
    strict = replace(limited, unknown_price="refuse")
    assert lifecycle.reserve(rig.engine, rig.running(), unknown, strict) == PRICE_UNKNOWN
    assert lifecycle.reserve(rig.engine, rig.running(), unknown, replace(strict, money_per_month=0.0)) is None


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("tokens_per_day", TokensOfDayUsed),
        ("tokens_per_month", TokensOfMonthUsed),
        ("money_per_month", MoneyOfMonthUsed),
    ],
)
def test_used_up_limit_refuses_questions(
    rig: RequestRig, rig_settings: Settings, name: str, refusal: type[SpendingReached]
) -> None:
    used = Spent(input_tokens=30, output_tokens=12, cost=Decimal(42))
    lifecycle.finish(rig.engine, rig.running(), Answer(text="", spent=used))
    set_limits(rig, OWNER.key, **{name: 43})
    limits.may_ask(rig.engine, OWNER, rig_settings)
    for owner in (OWNER, STRANGER):
        set_limits(rig, owner.key, **{name: 42})
    with pytest.raises(refusal) as refused:
        limits.may_ask(rig.engine, OWNER, rig_settings)
    assert refused.value.until is not None
    assert refused.value.until > datetime.now(UTC)
    limits.may_ask(rig.engine, STRANGER, rig_settings)


def test_own_limit_comes_before_those_of_groups(rig: RequestRig, rig_settings: Settings) -> None:
    ada = make_person(rig.engine, "Design", "Research")
    ids = {group.name: group.id for group in groups.everything(rig.engine)}
    settings = replace(rig_settings, tokens_per_day=10, tokens_per_month=1000)

    def own() -> Limits:
        return allowances(rig, ada, settings)[0].limits

    assert (own().tokens_per_day, own().tokens_per_month) == (10, 1000)
    set_limits(rig, limits.of_members(ids["Design"]), tokens_per_day=20)
    set_limits(rig, limits.of_members(ids["Research"]), tokens_per_day=30)
    assert (own().tokens_per_day, own().tokens_per_month) == (30, 1000)
    set_limits(rig, limits.of_members(ids["Design"]), tokens_per_day=0)
    assert own().tokens_per_day == 0, "no limit is the most generous"
    set_limits(rig, ada.key, tokens_per_day=5)
    assert own().tokens_per_day == 5
    set_limits(rig, ada.key)
    assert own().tokens_per_day == 0
    assert ada.key not in {row["subject"] for row in rig.rows(quota)}


def test_members_share_the_limit_of_their_group(rig: RequestRig, rig_settings: Settings) -> None:
    ada, ben, eve = make_person(rig.engine, "Design"), make_person(rig.engine, "Design"), make_person(rig.engine)
    (group,) = groups.everything(rig.engine)
    assert group.members == 2
    set_limits(rig, limits.of_group(group.id), tokens_per_month=42)
    lifecycle.finish(rig.engine, running_of(rig, ada), Answer(text="", spent=SPENT))
    with pytest.raises(GroupLimitUsed):
        limits.may_ask(rig.engine, ben, rig_settings)
    assert lifecycle.reserve(rig.engine, running_of(rig, ben), SMALL, rig_settings) == GroupLimitUsed.code
    limits.may_ask(rig.engine, eve, rig_settings)


def test_day_begins_at_midnight_in_its_zone(rig: RequestRig, rig_settings: Settings) -> None:
    zone = ZoneInfo("Asia/Seoul")
    settings = replace(rig_settings, time_zone=zone.key)
    (own,) = allowances(rig, OWNER, settings)
    assert own.day_ends_at.astimezone(zone).time().isoformat() == "00:00:00"
    assert own.month_ends_at.astimezone(zone).day == 1
    assert timedelta(0) < own.day_ends_at - datetime.now(UTC) <= timedelta(days=1)


def test_use_of_yesterday_counts_for_the_month_only(rig: RequestRig, rig_settings: Settings) -> None:
    lifecycle.finish(rig.engine, rig.running(), Answer(text="", spent=SPENT))
    with rig.begin() as connection:
        month = func.date_trunc("month", func.now(), "UTC")
        connection.execute(update(spending).values(hour=month - timedelta(hours=1)))
    (own,) = allowances(rig, OWNER, rig_settings)
    assert (own.used.tokens_today, own.used.tokens_this_month) == (0, 0)


def test_money_is_counted_in_the_currency_of_the_limits(rig: RequestRig, rig_settings: Settings) -> None:
    lifecycle.finish(rig.engine, rig.running(), Answer(text="", spent=replace(SPENT, cost=Decimal(2))))
    won = replace(rig_settings, currency="KRW=1400", money_per_month=2800.0)
    (own,) = allowances(rig, OWNER, won)
    assert own.used.money_this_month == 2800
    assert isinstance(own.reached(), MoneyOfMonthUsed)


@pytest.mark.parametrize("wrong", [{"tokens_per_day": -1}, {"money_per_month": Decimal("NaN")}])
def test_limits_below_zero_are_refused(rig: RequestRig, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        set_limits(rig, OWNER.key, **wrong)
    assert rig.rows(quota) == []


def test_claim_replaces_only_groups_of_a_claim(rig: RequestRig) -> None:
    ada = make_person(rig.engine, "Design")

    def names() -> list[str]:
        with rig.begin() as connection:
            return [group.name for group in groups.groups_of(connection, UUID(ada.id))]

    for claimed, expected in (
        ({"Research", "Design"}, ["Design", "Research"]),
        ({"Sales"}, ["Design", "Sales"]),
        (set(), ["Design"]),
    ):
        with rig.begin() as connection:
            groups.set_from_claim(connection, UUID(ada.id), claimed)
        assert names() == expected
    with pytest.raises(BadGroupName), rig.begin() as connection:
        groups.set_from_claim(connection, UUID(ada.id), {"x" * 101})
    assert names() == ["Design"]


def test_typed_limit_may_set_its_thousands_apart() -> None:
    assert limit_of("tokens_per_day", " 2,000,000 ") == 2_000_000
    assert limit_of("money_per_month", "1,234.5") == Decimal("1234.5")
    for given in ("1,5", "1,00", ",100", "1,0000", "-1", "ten", "NaN", ""):
        with pytest.raises(ValueError, match=given or "^$"):
            limit_of("money_per_month", given)
