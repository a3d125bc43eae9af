"""The prices of models: NARU_PRICES, then our table, then the one of genai-prices.

US dollars per million tokens; our table was checked on 2026-11-23 against a public price list. A model in none of them
costs None (unknown), never 0, and is counted as unpriced. Costs are list prices: only the vendor's bill is exact.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from shared.errors import SettingsError
from shared.vendors import VENDORS
from workers.providers.base import Usage
from workers.providers.instances import Instance

_VENDORS = {vendor.name: vendor for vendor in VENDORS}
_MILLION = 1_000_000
#: Dated editions and "latest" cost the same as the model.
_EDITION = re.compile(r"(-\d{4,8}(-\d\d-\d\d)?|-latest)?")


class Price(NamedTuple):
    """Dollars per million tokens of fresh input, output and cached input, for prompts of at least `from_tokens`."""

    fresh: float
    output: float
    cached: float
    from_tokens: int = 0


def _one(fresh: float, output: float, cached: float) -> tuple[Price, ...]:
    return (Price(fresh, output, cached),)


def _long(price: Price, *, after: int, times: tuple[float, float]) -> tuple[Price, ...]:
    """Add a tier for prompts of more than `after` tokens, with input and output prices multiplied by `times`."""
    input_times, output_times = times
    longer = Price(price.fresh * input_times, price.output * output_times, price.cached * input_times, after + 1)
    return (price, longer)


def _openai(fresh: float, output: float, cached: float) -> tuple[Price, ...]:
    return _long(Price(fresh, output, cached), after=272_000, times=(2, 1.5))


_PRICES: dict[str, tuple[Price, ...]] = {
    "gpt-6.1-terra": _openai(1, 5, 0.05),
    "gpt-6.1-sol": _openai(2, 10, 0.1),
    "gpt-6-astra": _openai(10, 50, 1),
    "gpt-6-sol": _openai(2, 10, 0.2),
    "gpt-6-luna": _openai(0.1, 0.5, 0.01),
    "gpt-5.6-sol": _openai(4, 20, 0.4),
    "gpt-5.6-terra": _openai(2, 12, 0.2),
    "gpt-5.6-luna": _openai(0.2, 1.2, 0.02),
    "gpt-5.5": _openai(5, 30, 0.5),
    "gpt-5.4": _openai(2.5, 15, 0.25),
    "gpt-5.4-mini": _one(0.75, 4.5, 0.075),
    "gpt-5.4-nano": _one(0.2, 1.25, 0.02),
    "gpt-5.3": _one(1.75, 14, 0.175),
    "gpt-5.2": _one(1.75, 14, 0.175),
    "gpt-5.1": _one(1.25, 10, 0.125),
    "gpt-5": _one(1.25, 10, 0.125),
    "gpt-5-mini": _one(0.25, 2, 0.025),
    "gpt-5-nano": _one(0.05, 0.4, 0.005),
    "gpt-4.1": _one(2, 8, 0.5),
    "gpt-4.1-mini": _one(0.4, 1.6, 0.1),
    "gpt-4.1-nano": _one(0.1, 0.4, 0.025),
    "gpt-4o": _one(2.5, 10, 1.25),
    "gpt-4o-mini": _one(0.15, 0.6, 0.075),
    "o3": _one(2, 8, 0.5),
    "o4-mini": _one(1.1, 4.4, 0.275),
    "claude-fable-5-2": _one(8, 40, 0.2),
    "claude-fable-5-1": _one(10, 50, 0.25),
    "claude-fable-5": _one(10, 50, 1),
    "claude-mythos-5-2": _one(8, 40, 0.2),
    "claude-opus-5-5": _one(4, 20, 0.2),
    "claude-opus-5": _one(5, 25, 0.5),
    "claude-sonnet-5-5": _one(2, 10, 0.1),
    "claude-sonnet-5": _one(2, 10, 0.2),
    "claude-haiku-5-5": _long(Price(0.1, 0.5, 0.01), after=100_000, times=(5, 5)),
    "claude-opus-4-8": _one(5, 25, 0.5),
    "claude-opus-4-7": _one(5, 25, 0.5),
    "claude-opus-4-6": _one(5, 25, 0.5),
    "claude-opus-4-5": _one(5, 25, 0.5),
    "claude-sonnet-4-6": _one(3, 15, 0.3),
    "claude-haiku-4-5": _one(1, 5, 0.1),
}


class Prices:
    """The prices of this process: NARU_PRICES overrides the table. A server that sends no bills is free."""

    def __init__(self, text: str = "", instances: Callable[[], Mapping[str, Instance]] = dict) -> None:
        """Parse `text`, the value of NARU_PRICES. Raises SettingsError for an entry that is not a price.

        `instances` returns the current providers by name. A provider that is gone counts as the vendor of its name.
        """
        self._instances = instances
        self._own = dict(_parsed(entry) for entry in filter(None, (part.strip() for part in text.split(","))))

    def cost_of(self, name: str, usage: Usage | None) -> float | None:
        """Return the cost in dollars of `usage` by the model `name` (provider/model); None if it is unknown."""
        if usage is None and not self._is_free(name.partition("/")[0]):
            return None
        usage = usage or Usage(0, 0)
        price = self.price_of(name, usage.input_tokens)
        if price is None:
            return None
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        fresh = usage.input_tokens - cached
        dollars = fresh * price.fresh + cached * price.cached + usage.output_tokens * price.output
        # A Prometheus counter must not fall, whatever a compatible server reports.
        return max(dollars, 0.0) / _MILLION

    def price_of(self, name: str, input_tokens: int) -> Price | None:
        """Return the price of the model `name` (provider/model) for a prompt of this length; None if it is unknown."""
        provider, _, model = name.partition("/")
        if self._is_free(provider):
            return Price(0.0, 0.0, 0.0)
        prices = self._own.get(name) or _listed(model)
        if prices is None:
            return _public(provider, model, input_tokens)
        return [each for each in prices if each.from_tokens <= max(input_tokens, 0)][-1]

    def _is_free(self, provider: str) -> bool:
        instance = self._instances().get(provider)
        vendor = instance.vendor if instance else _VENDORS.get(provider)
        return vendor is not None and not vendor.sends_bills


def _listed(model: str) -> tuple[Price, ...] | None:
    """Return the prices in the table, ignoring a gateway's prefix (`vendor/model`) and an edition's date."""
    bare = model.rsplit("/", 1)[-1]
    fitting = [name for name in _PRICES if bare.startswith(name) and _EDITION.fullmatch(bare[len(name) :])]
    return _PRICES[max(fitting, key=len)] if fitting else None


@functools.lru_cache(maxsize=1024)
def _public(provider: str, model: str, input_tokens: int) -> Price | None:
    """Return the price that genai-prices has for this provider's own model, at this length of a prompt.

    Another provider's model of the same name costs something else.
    """
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    def dollars(**tokens: int) -> float:
        return float(calc_price(Tokens(**tokens), model_ref=model, provider_id=provider).total_price)

    tokens = max(input_tokens, 1)
    try:
        fresh = dollars(input_tokens=tokens)
        cached = dollars(input_tokens=tokens, cache_read_tokens=tokens)
        output = dollars(input_tokens=tokens, output_tokens=1000) - fresh
    except LookupError:
        return None
    return Price(fresh / tokens * _MILLION, output / 1000 * _MILLION, cached / tokens * _MILLION)


def _parsed(entry: str) -> tuple[str, tuple[Price, ...]]:
    name, _, text = entry.rpartition("=")
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    if "/" not in name or len(numbers) not in {2, 3} or not all(math.isfinite(each) and each >= 0 for each in numbers):
        raise SettingsError(
            f"NARU_PRICES has {entry!r}, which is not provider/model=input/output or …/cached in dollars per million "
            "tokens, as in openai/gpt-6-luna=0.1/0.5."
        )
    cached = numbers[2] if len(numbers) == 3 else numbers[0]
    return name.strip(), (Price(numbers[0], numbers[1], cached),)
