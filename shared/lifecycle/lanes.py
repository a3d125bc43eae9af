"""Lanes: the unit of capacity, of fairness and of a provider's outages.

A lane is a provider, such as `openai`, or one of its models with its own limit, such as `openai/o3`. The table `lane`
has a row for each, with its limit and its breaker; a model's lane obeys its provider's row too. A request gets its lane
and its place (`fair_at`) when it is stored.

Fairness is start-time fair queuing: each active question of an owner places the next one FAIR_SHARE_SECONDS later. So
somebody with 200 questions waits for their own answers, and everybody else passes.

The breaker: from the second failure in a row on, nothing is claimed from the lane until `retry_at`. Then one request is
claimed as a probe. Its first text, or an error of the question, closes the breaker (`recover`). A provider that asks to
slow down (`is_slowed`) closes one lane; any other failure closes all lanes of the provider.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Text,
    Update,
    and_,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.errors import SettingsError
from shared.lifecycle.rates import Rate
from shared.postgres.database import statement, transaction
from shared.tables import ACTIVE, Status, chat_request, lane
from shared.vendors import VENDORS

_R = chat_request.c
NOW = func.clock_timestamp()
#: The distance between the places of one owner's questions: about the duration of an answer.
FAIR_SHARE_SECONDS = 30.0
#: Failures in a row that open the breaker. A single one may be the request's own.
FAILURES = 2
#: The pause after the n-th failure is 2ⁿ⁻² s, at most this.
LONGEST_PAUSE_SECONDS = 20.0
#: A probe that has neither text nor an error after this long is followed by another one.
PROBE_SECONDS = 20.0
#: The most requests that one statement moves to other lanes.
MOVED_AT_ONCE = 1_000
#: The advisory locks of lanes: "lane" on a phone keypad, and the hash of a name.
LOCK = 5263

# In the text, not as parameters: a plan made once must use the partial indexes.
_ACTIVE: list[ColumnElement[str]] = [literal_column(f"'{status.value}'") for status in ACTIVE]

#: The limits of a minute, and the time before which no request begins under each.
_TIMES = {"requests_per_minute": "requests_at", "tokens_per_minute": "tokens_at"}
_NO_RATES: Mapping[str, Rate] = {}
_PROVIDERS = tuple(vendor.name for vendor in VENDORS)
_NUMBER = re.compile("[0-9]{1,7}")
MOST_RUNNING = 1_000_000


def limits_in(setting: str, *, has_others: bool = False) -> dict[str, int]:
    """Return the limits in NARU_LANES by lane. Raises SettingsError for an entry that is not NAME=NUMBER.

    `has_others` says that there may be other providers than the vendors: providers.toml changes while Naru runs.
    """
    limits: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        name, _, number = (part.strip() for part in entry.partition("="))
        provider = name.partition("/")[0]
        is_known = bool(provider) if has_others else provider in _PROVIDERS
        if not is_known or name.endswith("/") or any(sign.isspace() for sign in name):
            raise SettingsError(
                f"NARU_LANES has {entry[:80]!r}: {name[:80]!r} is neither a provider nor provider/model. "
                f"The providers are {', '.join(_PROVIDERS)}."
            )
        if not _NUMBER.fullmatch(number) or not 1 <= int(number) <= MOST_RUNNING:
            raise SettingsError(
                f"NARU_LANES has {entry[:80]!r}: write {name[:80]}=NUMBER, with a number from 1 to {MOST_RUNNING:,}."
            )
        if name in limits:
            raise SettingsError(f"NARU_LANES names {name!r} twice.")
        limits[name] = int(number)
    return limits


def lane_of(model: str, lanes: Collection[str]) -> str:
    """Return the lane of `model`: its own if it is one of `lanes`, else its provider's."""
    return model if model in lanes else model.partition("/")[0]


def lane_of_column(model: ColumnElement[str]) -> ColumnElement[str]:
    """Return `lane_of` as SQL, with the lanes of the table."""
    own = select(lane.c.name).where(lane.c.name == model).scalar_subquery()
    return func.coalesce(own, provider_of(model))


def obeyed(of_lane: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a row of `lane` limits this lane: its own row and its provider's do."""
    return lane.c.name.in_([of_lane, provider_of(of_lane)])


def has_breaker_of(of_lane: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the breaker in a row of `lane` is for this lane: its own row's, or its provider's unless slowed."""
    return and_(obeyed(of_lane), or_(lane.c.name == of_lane, ~lane.c.is_slowed))


def in_order(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Choose the rows of `lane` under these conditions for an UPDATE that locks them in the order of their names.

    Otherwise two statements that change a lane and its provider could wait for each other.
    """
    named = select(lane.c.name).where(*conditions).correlate(None)
    return lane.c.name.in_(named.order_by(lane.c.name).with_for_update())


def provider_of(name: ColumnElement[str]) -> ColumnElement[str]:
    """Return the part of a model's or lane's name before the slash."""
    return func.split_part(name, "/", 1, type_=Text)


def fair_at(owner: BindParameter[Any], of_lane: ColumnElement[str]) -> ColumnElement[Any]:
    """Return the place of the owner's next question in a lane."""
    last = (
        select(func.max(_R.fair_at) + timedelta(seconds=FAIR_SHARE_SECONDS))
        .where(_R.owner_id == owner, _R.lane == of_lane, _R.status.in_(_ACTIVE))
        .scalar_subquery()
    )
    return func.greatest(NOW, last)


def register(
    engine: Engine, providers: Collection[str], limits: Mapping[str, int], rates: Mapping[str, Rate] = _NO_RATES
) -> None:
    """Add the lanes of a worker's providers and limits, and set the limits: those of the newest worker count.

    `rates` are by provider. A limit per minute that changes counts from now on.

    A lane without a limit in `limits` loses the one that it had. Active requests move to the lanes that they now have;
    a question that is being stored meanwhile may keep its old one, until `move_requests` is called again.
    """
    wanted: dict[str, int | None] = {**dict.fromkeys(providers), **limits}
    if not wanted:
        return
    with transaction(engine) as connection:
        new = upsert(lane).values([_row_of(name, most, rates.get(name)) for name, most in sorted(wanted.items())])
        given = {name: new.excluded[name] for name in ("most_running", *_TIMES)}
        # Usage under the old limit could fill hours of the new one.
        times = {
            time: case((lane.c[name].is_not_distinct_from(new.excluded[name]), lane.c[time]))
            for name, time in _TIMES.items()
        }
        connection.execute(new.on_conflict_do_update(index_elements=[lane.c.name], set_={**given, **times}))
        connection.execute(
            update(lane)
            .where(provider_of(lane.c.name).in_(list(providers)), lane.c.name.not_in(list(wanted)))
            .values(most_running=None)
        )
    move_requests(engine)


def _row_of(name: str, most: int | None, rate: Rate | None) -> dict[str, Any]:
    requests, tokens = (rate.requests, rate.tokens) if rate else (None, None)
    return {"name": name, "most_running": most, "requests_per_minute": requests, "tokens_per_minute": tokens}


def move_requests(engine: Engine) -> None:
    """Move active requests to the lanes of their models, in slices. A locked row stays; call it once more later."""
    moved = MOVED_AT_ONCE
    while moved >= MOVED_AT_ONCE:
        with transaction(engine) as connection:
            moved = assign(connection, _R.model != "")


def assign(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    """Give up to MOVED_AT_ONCE active requests the lanes of their models, under these conditions; return how many."""
    lane_now = lane_of_column(_R.model)
    slice_of = (
        select(_R.id)
        .where(_R.status.in_(_ACTIVE), *conditions, _R.lane.is_distinct_from(lane_now))
        .limit(MOVED_AT_ONCE)
        # Two of these, or one and a tick, may meet the same rows in another order.
        .with_for_update(skip_locked=True)
    )
    return connection.execute(update(chat_request).where(_R.id.in_(slice_of)).values(lane=lane_now)).rowcount


def is_full(of_lane: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the last tick found as many questions in the lane's queue as may wait."""
    return select(lane.c.name).where(lane.c.name == of_lane, lane.c.is_full).exists()


def record_failure(
    engine: Engine, of_lane: str, *, code: str, asks_to_slow_down: bool, wait_seconds: float, was_probe: bool
) -> None:
    """Count a provider's failure, and open the breaker from the second one in a row on.

    A provider that `asks_to_slow_down` means the lane, whose breaker opens at once. Other failures count for the whole
    provider. The pause is `wait_seconds` at least. While the breaker is open only a probe's failure counts: the calls
    that were under way when the provider went away all fail.
    """
    provider = of_lane.partition("/")[0]
    name = of_lane if asks_to_slow_down else provider
    # While the provider's row only slows its own lane, it says nothing about this lane, whose probe was not for it.
    is_ours = has_breaker_of(literal(of_lane))
    before = case((is_ours, lane.c.failures), else_=0)
    failures = func.greatest(before + 1, FAILURES if asks_to_slow_down else 1)
    growing = func.least(LONGEST_PAUSE_SECONDS, func.power(2.0, func.least(failures - FAILURES, 10)))
    pause = func.make_interval(0, 0, 0, 0, 0, 0, func.greatest(growing, wait_seconds))
    counts = or_(and_(literal(was_probe), is_ours), lane.c.retry_at.is_(None), lane.c.retry_at <= NOW)
    with transaction(engine) as connection:
        both = select(lane.c.name).where(lane.c.name.in_([provider, of_lane]))
        connection.execute(both.order_by(lane.c.name).with_for_update())
        if was_probe and asks_to_slow_down:
            # The provider has answered, so its other lanes may go on.
            connection.execute(_close(lane.c.name == provider, lane.c.name != of_lane, ~lane.c.is_slowed))
        elif was_probe:
            # The lane's own breaker, if it has one, learns nothing from a provider that fails.
            connection.execute(_allow_next_probe(lane.c.name == of_lane, lane.c.name != provider))
        connection.execute(
            update(lane)
            .where(lane.c.name == name, counts)
            .values(
                failures=failures,
                failing_since=func.coalesce(lane.c.failing_since, NOW),
                retry_at=case((failures >= FAILURES, NOW + pause)),
                code=code,
                is_slowed=asks_to_slow_down,
            )
        )


def recover(engine: Engine, of_lane: str) -> None:
    """Close the breakers of a lane and its provider, because its provider has just sent text."""
    with statement(engine) as connection:
        connection.execute(_close(has_breaker_of(literal(of_lane)), lane.c.failures > 0))


def _close(*conditions: ColumnElement[bool]) -> Update:
    return (
        update(lane)
        .where(in_order(*conditions))
        .values(failures=0, failing_since=None, retry_at=None, code=None, is_slowed=False)
    )


def end_probe(engine: Engine, of_lane: str) -> None:
    """Let another request be the probe at once: this one ended before the provider had answered or failed."""
    with statement(engine) as connection:
        connection.execute(_allow_next_probe(has_breaker_of(literal(of_lane))))


def _allow_next_probe(*conditions: ColumnElement[bool]) -> Update:
    is_open = (lane.c.failures >= FAILURES, lane.c.retry_at > NOW)
    return update(lane).where(in_order(*conditions, *is_open)).values(retry_at=NOW)


def shares_limit(of_lane: str, limits: Collection[str]) -> bool:
    """Whether other lanes wait for the places of this one: its provider has a limit, and models with lanes too."""
    provider = of_lane.partition("/")[0]
    return provider in limits and any(name.startswith(f"{provider}/") for name in limits)


def waiting_beside(engine: Engine, of_lane: str) -> list[str]:
    """Return the lanes of this lane's provider in which a request could run now, the fairest first."""
    front = (
        select(_R.fair_at)
        .where(_R.status == literal_column(f"'{Status.QUEUED.value}'"), _R.lane == lane.c.name, _R.available_at <= NOW)
        .order_by(_R.fair_at)
        .limit(1)
        .correlate(lane)
        .lateral("front")
    )
    of_provider = provider_of(lane.c.name) == of_lane.partition("/")[0]
    with statement(engine) as connection:
        found = connection.execute(select(lane.c.name).join(front, true()).where(of_provider).order_by(front.c.fair_at))
        return list(found.scalars())
