"""The use of an attempt or of an owner, and the limits of an owner. No SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Self, TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The use of one attempt. `cost` is in dollars, None where the price is unknown.

    `is_estimated`: the provider reported nothing, because the attempt was stopped or broke off.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cost: Decimal | None = Decimal(0)
    is_estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """The most that an attempt may use, and what it is billed by if its worker is lost.

    `input_price` and `output_price` are in dollars per token; they and `cost` are None where the price is unknown.
    """

    prompt_tokens: int
    tokens: int
    cost: Decimal | None = None
    input_price: Decimal | None = None
    output_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one owner, or of a group together. None: not set here; 0: no limit.

    Money is in NARU_CURRENCY."""

    active_questions: int | None = None
    questions_per_minute: int | None = None
    question_characters: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    money_per_month: Decimal | None = None

    def over(self, others: Self) -> Self:
        """Return these limits, with those of `others` where nothing is set here."""
        unset = {each.name: getattr(others, each.name) for each in fields(self) if getattr(self, each.name) is None}
        return replace(self, **unset)

    def or_more(self, others: Self) -> Self:
        """Return the more generous of two limits each, for somebody who is a member of two groups."""
        return replace(
            self, **{each.name: _more(getattr(self, each.name), getattr(others, each.name)) for each in fields(self)}
        )

    @property
    def holds_spending(self) -> bool:
        """Whether tokens or money are limited."""
        return bool(self.tokens_per_day or self.tokens_per_month or self.money_per_month)


#: The names of the limits.
LIMITS = tuple(each.name for each in fields(Limits))
#: The limit that is money; the others are whole numbers.
MONEY = "money_per_month"
#: The largest limit. Larger numbers do not fit the columns.
MOST_LIMIT = 2_000_000_000


#: A number with its thousands set apart, as Naru prints it. "1,5" is none: some people write one and a half so.
_GROUPED = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")


def limit_of(name: str, given: str) -> int | Decimal:
    """Return the limit that somebody typed, as in 1,000. Raises ValueError for anything but 0 to MOST_LIMIT."""
    text = given.strip()
    try:
        number = Decimal(text.replace(",", "") if _GROUPED.fullmatch(text) else text)
    except InvalidOperation:
        raise ValueError(given) from None
    if not (number.is_finite() and 0 <= number <= MOST_LIMIT and (name == MONEY or number == int(number))):
        raise ValueError(given)
    return number if name == MONEY else int(number)


_Number = TypeVar("_Number", int, Decimal)


def _more(one: _Number | None, other: _Number | None) -> _Number | None:
    if one is None or other is None:
        return other if one is None else one
    unlimited = next((each for each in (one, other) if not each), None)
    return max(one, other) if unlimited is None else unlimited


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """The use of an owner, and the reservations of running attempts. Money is in the currency of the limits."""

    tokens_today: int = 0
    tokens_this_month: int = 0
    money_this_month: Decimal = Decimal(0)
    reserved_tokens: int = 0
    reserved_money: Decimal = Decimal(0)
    running: int = 0
