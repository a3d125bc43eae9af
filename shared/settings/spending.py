"""Limits on the use of one person, the currency, and the time zone of days and months."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.settings.field import setting

#: A currency's code, and the price of a dollar in it; providers' prices are in dollars.
CURRENCY = re.compile("USD|([A-Z]{3})=([0-9]{1,9}([.][0-9]{1,9})?)")
ALLOW, REFUSE = "allow", "refuse"


@dataclass(frozen=True, kw_only=True)
class Spending:
    """Limits for everybody who has none of their own (`naru people limit`), and how money is counted and shown."""

    tokens_per_day: int = setting(0, "Tokens of one person per day, prompts and answers; 0: no limit", least=0)
    tokens_per_month: int = setting(0, "Tokens of one person per month; 0: no limit", least=0)
    money_per_month: float = setting(0.0, "Money of one person per month, in NARU_CURRENCY; 0: no limit", least=0)
    currency: str = setting(
        "USD", "Currency of limits and reports, with the price of a dollar: USD, or for instance KRW=1400"
    )
    unknown_price: str = setting(
        ALLOW, "A model without a known price: allow (its answers count as 0) or refuse, where money is limited"
    )
    time_zone: str = setting("UTC", "Where days and months begin at midnight, such as Asia/Seoul")
    contact: str = setting("", "Whom to ask for more, shown with a limit that is reached: a name or an address")
