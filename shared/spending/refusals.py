"""Refusals of a question because of its owner's limits and groups: branches of the tree in shared/errors.py.

Refused
└── ModelNotAllowed       the model is reserved for members of other groups
OverLimit
└── SpendingReached       says from when questions are accepted again
    ├── TokensOfDayUsed
    ├── TokensOfMonthUsed
    ├── MoneyOfMonthUsed
    └── GroupLimitUsed    the limit that the members of a group share
"""

from __future__ import annotations

from datetime import datetime

from shared.errors import OverLimit, Refused


class ModelNotAllowed(Refused):
    """This model is for members of other groups."""

    code = "model_not_allowed"


class SpendingReached(OverLimit):
    """You have used what you may use for now."""

    code = "spending_reached"

    def __init__(self, limit: int = 0, *, until: datetime | None = None, contact: str = "") -> None:
        """`until` is the time from which questions are accepted again, None if unknown; `contact` whom to ask."""
        super().__init__(limit)
        self.until, self.contact = until, contact


class TokensOfDayUsed(SpendingReached):
    """You have used your tokens for today."""

    code = "tokens_of_day_used"


class TokensOfMonthUsed(SpendingReached):
    """You have used your tokens for this month."""

    code = "tokens_of_month_used"


class MoneyOfMonthUsed(SpendingReached):
    """You have used your money for this month."""

    code = "money_of_month_used"


class GroupLimitUsed(SpendingReached):
    """Your group has used what its members may use together."""

    code = "group_limit_used"
