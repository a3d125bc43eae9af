"""Money in the currency of the limits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from shared.settings import CURRENCY, Settings

_MARKS = {"USD": "$", "KRW": "₩", "EUR": "€", "JPY": "¥"}
_WITHOUT_CENTS = {"KRW", "JPY"}


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency, and the price of a dollar in it."""

    code: str = "USD"
    per_dollar: Decimal = Decimal(1)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the currency of the limits and reports."""
        found = CURRENCY.fullmatch(settings.currency)
        return cls(found[1], Decimal(found[2])) if found and found[1] else cls()

    def shown(self, amount: Decimal) -> str:
        """Format as `$0.42`, `₩1,400` or `CHF 0.42`; less than a cent or a won as `<$0.01`."""
        mark = _MARKS.get(self.code, f"{self.code} ")
        digits = 0 if self.code in _WITHOUT_CENTS else 2
        least = Decimal(1).scaleb(-digits)
        return f"<{mark}{least}" if 0 < amount < least else f"{mark}{amount:,.{digits}f}"
