"""The limits of an owner, and how much is used and left.

A person's own limits come first, then the more generous of those that their groups give each member, then the settings.
A group's own limits hold for all its members together, whatever each may use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Engine, Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import audit
from shared.audit import Kind
from shared.people import Owner, groups
from shared.people.groups import Group
from shared.postgres.database import transaction
from shared.postgres.prepared import prepared
from shared.settings import Settings
from shared.spending.currency import Currency
from shared.spending.refusals import (
    GroupLimitUsed,
    MoneyOfMonthUsed,
    SpendingReached,
    TokensOfDayUsed,
    TokensOfMonthUsed,
)
from shared.spending.values import Limits, Used
from shared.tables import membership, quota

_Q = quota.c
#: How often web looks whether any limit is set, and the age from which a question looks itself.
LOOK_SECONDS, MOST_LOOK_SECONDS = 2.0, 5.0
#: The advisory locks of those who spend: "spen" on a phone keypad, and the hash of a subject.
LOCK = 7736


def of_group(group_id: UUID) -> str:
    """Return the subject of a group's limits, which all its members share."""
    return f"group:{group_id}"


def of_members(group_id: UUID) -> str:
    """Return the subject of the limits of each member of a group."""
    return f"member:{group_id}"


def given_by(settings: Settings) -> Limits:
    """Return the limits that hold for everybody who has no other."""
    return Limits(
        active_questions=settings.owner_active_questions,
        questions_per_minute=settings.owner_questions_per_minute,
        question_characters=settings.max_question_characters,
        tokens_per_day=settings.tokens_per_day,
        tokens_per_month=settings.tokens_per_month,
        money_per_month=Decimal(str(settings.money_per_month)),
    )


def set_limits(connection: Connection, subject: str, limits: Limits) -> None:
    """Store the limits of a subject; those that are None leave it to the next subject. Raises ValueError below 0."""
    values = {each.name: getattr(limits, each.name) for each in fields(limits)}
    if any(value is not None and not (math.isfinite(value) and value >= 0) for value in values.values()):
        raise ValueError("a limit is 0 or more; 0 means no limit")
    put = upsert(quota).values(subject=subject, **values)
    if all(value is None for value in values.values()):
        connection.execute(delete(quota).where(_Q.subject == subject))
    else:
        connection.execute(put.on_conflict_do_update(index_elements=[_Q.subject], set_=values))
    shown = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    audit.record(connection, Kind.LIMITS_CHANGED, subject=subject, limits=shown or "-")


def stored(connection: Connection, subjects: Collection[str]) -> dict[str, Limits]:
    """Return the limits that are stored for these subjects."""
    rows = connection.execute(_STORED, {"subjects": list(subjects)}).mappings()
    return {row["subject"]: Limits(**{name: value for name, value in row.items() if name != "subject"}) for row in rows}


@dataclass(frozen=True, slots=True)
class Part:
    """The use of one limit, with the name that it has in Limits, and the time at which it begins anew."""

    name: str
    used: Decimal | int
    most: Decimal | int | None
    until: datetime

    @property
    def share(self) -> float:
        """The used share, from 0.0; above 1.0 where the last answer took more than was left."""
        return float(Decimal(self.used) / self.most) if self.most else 0.0

    def shown(self, currency: Currency) -> tuple[str, str, str]:
        """Return what is used, the limit, and what is left, as people read them."""
        most = self.most or 0
        amounts = (self.used, most, max(most - self.used, 0 * most))
        if self.name == "money_per_month":
            used, limit, left = (currency.shown(Decimal(each)) for each in amounts)
        else:
            used, limit, left = (f"{each:,}" for each in amounts)
        return used, limit, left


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The limits of an owner or of a group together, their use, and the ends of this day and month."""

    limits: Limits
    #: The limits that would hold if the owner had none: those of groups, then of the settings.
    otherwise: Limits = field(default_factory=Limits)
    used: Used
    currency_per_dollar: Decimal
    day_ends_at: datetime
    month_ends_at: datetime
    #: The name of the group; empty for an owner's own.
    group: str = ""
    #: Whom to ask for more.
    contact: str = ""

    def reached(self) -> SpendingReached | None:
        """Return the refusal if a limit is used up."""
        return self._beyond(0, Decimal(0), least=1)

    def exceeded_by(self, tokens: int, cost: Decimal | None) -> SpendingReached | None:
        """Return the refusal if what is used and reserved leaves no room for this much more; `cost` is in dollars."""
        money = (cost or Decimal(0)) * self.currency_per_dollar
        return self._beyond(self.used.reserved_tokens + tokens, self.used.reserved_money + money, least=0)

    def _beyond(self, tokens: int, money: Decimal, *, least: int) -> SpendingReached | None:
        most, used = self.limits, self.used
        smallest = Decimal(least) / 10**9
        if most.tokens_per_day and used.tokens_today + tokens + least > most.tokens_per_day:
            return self._refusal(TokensOfDayUsed, most.tokens_per_day, self.day_ends_at)
        if most.tokens_per_month and used.tokens_this_month + tokens + least > most.tokens_per_month:
            return self._refusal(TokensOfMonthUsed, most.tokens_per_month, self.month_ends_at)
        if most.money_per_month and used.money_this_month + money + smallest > most.money_per_month:
            return self._refusal(MoneyOfMonthUsed, 0, self.month_ends_at)
        return None

    def _refusal(self, kind: type[SpendingReached], limit: int, until: datetime) -> SpendingReached:
        if self.group:
            return GroupLimitUsed(until=until, contact=self.contact)
        return kind(limit, until=until, contact=self.contact)

    def parts(self) -> list[Part]:
        """Return what is used of each limit that is set; reserved use counts."""
        most, used = self.limits, self.used
        today, month = used.tokens_today + used.reserved_tokens, used.tokens_this_month + used.reserved_tokens
        money = used.money_this_month + used.reserved_money
        whole = [
            Part("tokens_per_day", today, most.tokens_per_day, self.day_ends_at),
            Part("tokens_per_month", month, most.tokens_per_month, self.month_ends_at),
            Part("money_per_month", money, most.money_per_month, self.month_ends_at),
        ]
        return [part for part in whole if part.most]


def groups_of(connection: Connection, owner: Owner) -> list[Group]:
    """Return the groups of an owner; a guest has none."""
    return groups.groups_of(connection, UUID(owner.id)) if owner.kind == "person" else []


def allowances_of(
    connection: Connection, owner: Owner, settings: Settings, *, theirs: Sequence[Group] | None = None
) -> list[Allowance]:
    """Return the owner's own allowance, then those of their groups that have limits together.

    `theirs` are the owner's groups, for a caller that has read them.
    """
    theirs = groups_of(connection, owner) if theirs is None else theirs
    subjects = [owner.key, *(of(group.id) for group in theirs for of in (of_group, of_members))]
    found = stored(connection, subjects)
    own = found.get(owner.key, Limits())
    as_member = Limits()
    for group in theirs:
        as_member = as_member.or_more(found.get(of_members(group.id), Limits()))
    otherwise = as_member.over(given_by(settings))
    together = [(group, found[of_group(group.id)]) for group in theirs if of_group(group.id) in found]
    parts: list[tuple[str, Limits, Sequence[str]]] = [("", own.over(otherwise), [owner.key])]
    parts += [(group.name, each, _members(connection, group.id)) for group, each in together]
    found_parts = [_allowance(connection, each, owners, settings, group=name) for name, each, owners in parts]
    return [replace(found_parts[0], otherwise=otherwise), *found_parts[1:]]


def _allowance(
    connection: Connection, limits: Limits, owners: Sequence[str], settings: Settings, *, group: str
) -> Allowance:
    rate = Currency.of(settings).per_dollar
    row = connection.execute(_USED, {"owners": list(owners), "zone": settings.time_zone}).one()
    used = Used(
        tokens_today=int(row.today),
        tokens_this_month=int(row.this_month),
        money_this_month=row.spent * rate,
        reserved_tokens=int(row.reserved_tokens),
        reserved_money=row.reserved_cost * rate,
        running=row.number,
    )
    return Allowance(
        limits=limits,
        used=used,
        currency_per_dollar=rate,
        day_ends_at=row.day_ends_at,
        month_ends_at=row.month_ends_at,
        group=group,
        contact=settings.contact,
    )


def may_ask(engine: Engine, owner: Owner, settings: Settings) -> Limits:
    """Return the owner's limits. Raises SpendingReached if they or one of their groups have used one up."""
    with transaction(engine) as connection:
        allowances = allowances_of(connection, owner, settings)
    for allowance in allowances:
        if reached := allowance.reached():
            raise reached
    return allowances[0].limits


def lock(connection: Connection, owner: Owner, theirs: Sequence[Group]) -> None:
    """Let one transaction at a time reserve for this owner and for `theirs`, the owner's groups."""
    subjects = [owner.key, *(of_group(group.id) for group in theirs)]
    for subject in sorted(subjects):  # in one order, so that two members of the same groups never wait for each other
        connection.execute(_LOCK, {"subject": subject})


class Watch:
    """Knows whether any limit of tokens or money may apply, so that nobody pays for limits that nobody set."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        #: Whether the settings limit everybody: then there is nothing to look for.
        self.is_always = given_by(settings).holds_spending
        self._are_set, self._looked_at = False, -math.inf

    def are_set(self) -> bool:
        """Whether any limit is set, as of at most MOST_LOOK_SECONDS ago. Raises Unavailable."""
        if not self.is_always and time.monotonic() - self._looked_at > MOST_LOOK_SECONDS:
            self.look()
        return self.is_always or self._are_set

    def look(self) -> None:
        """Look now. Called every LOOK_SECONDS, it keeps the look off the path of a question. Raises Unavailable."""
        with transaction(self._engine) as connection:
            self._are_set = bool(connection.execute(_ARE_SET).scalar_one())
        self._looked_at = time.monotonic()


# One statement, planned once: a limited owner's answer waits for it. It reads the sums by the primary key, and the
# running answers by the partial index of an owner's active requests.
_USED = prepared(
    text(
        """
        WITH clock AS (SELECT timezone(:zone, statement_timestamp()) AS here),
             period AS (
                 SELECT timezone(:zone, date_trunc('day', here)) AS day,
                        timezone(:zone, date_trunc('month', here)) AS month,
                        timezone(:zone, date_trunc('day', here) + interval '1 day') AS day_ends_at,
                        timezone(:zone, date_trunc('month', here) + interval '1 month') AS month_ends_at
                   FROM clock
             ),
             ended AS (
                 SELECT coalesce(sum(s.input_tokens + s.output_tokens) FILTER (WHERE s.hour >= p.day), 0) AS today,
                        coalesce(sum(s.input_tokens + s.output_tokens), 0) AS this_month,
                        coalesce(sum(s.cost), 0) AS cost
                   FROM period p JOIN spending s ON s.owner_id = ANY(:owners) AND s.hour >= p.month
             ),
             reserved AS (
                 SELECT coalesce(sum(a.reserved_tokens), 0) AS tokens, coalesce(sum(a.reserved_cost), 0) AS cost,
                        count(*) AS number
                   FROM chat_request r JOIN request_attempt a ON a.request_id = r.id AND a.attempt = r.attempt
                  WHERE r.owner_id = ANY(:owners) AND r.status = 'running' AND r.status IN ('queued', 'running')
                    AND a.ended_at IS NULL AND a.reserved_tokens IS NOT NULL
             )
        SELECT period.day_ends_at, period.month_ends_at, ended.today, ended.this_month, ended.cost AS spent,
               reserved.tokens AS reserved_tokens, reserved.cost AS reserved_cost, reserved.number
          FROM period, ended, reserved
        """
    ).bindparams(bindparam("owners", type_=ARRAY(Text)), bindparam("zone", type_=Text))
)
_ARE_SET = prepared(select(select(_Q.subject).exists()))
_LOCK = prepared(select(func.pg_advisory_xact_lock(LOCK, func.hashtext(bindparam("subject", type_=Text)))))
_STORED = prepared(select(quota).where(_Q.subject == func.any(bindparam("subjects", type_=ARRAY(Text)))))


def _members(connection: Connection, group_id: UUID) -> Sequence[str]:
    found = select(membership.c.person_id).where(membership.c.group_id == group_id)
    return [Owner.person(person_id).key for person_id in connection.execute(found).scalars()]
