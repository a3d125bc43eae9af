"""Tests of an answer's cost: by the table, by NARU_PRICES, or unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import Settings
from workers.process.context import make_context
from workers.providers.base import Usage
from workers.providers.prices import Prices

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("name", "usage", "dollars"),
    [
        ("openai/gpt-4o-mini", Usage(MILLION, MILLION), 0.75),
        ("openai/gpt-4o-mini-2024-07-18", Usage(MILLION, 0), 0.15),
        ("openai/openai/gpt-4o-mini", Usage(MILLION, 0), 0.15),  # through a gateway
        ("anthropic/claude-sonnet-5-5", Usage(MILLION, 0, cached_input_tokens=MILLION), 0.1),
        ("anthropic/claude-sonnet-5-5", Usage(1000, 100, cached_input_tokens=500), 0.00205),
        ("openai/gpt-6.1-terra", Usage(272_000, 0), 0.272),
        ("openai/gpt-6.1-terra", Usage(272_001, 1_000), 0.544002 + 0.0075),  # a long prompt costs more for all tokens
        ("ollama/qwen", Usage(MILLION, MILLION), 0.0),
        ("demo/simulator", None, 0.0),
    ],
)
def test_prices_match_the_table(name: str, usage: Usage | None, dollars: float) -> None:
    assert Prices().cost_of(name, usage) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("name", "usage", "dollars"),
    [
        ("openai/gpt-3.5-turbo", Usage(MILLION, MILLION), 2.0),
        ("anthropic/claude-3-haiku-20240307", Usage(MILLION, 0, cached_input_tokens=MILLION), 0.03),
    ],
)
def test_public_price_list_knows_the_other_models(name: str, usage: Usage, dollars: float) -> None:
    assert Prices().cost_of(name, usage) == pytest.approx(dollars)
    assert Prices(f"{name}=1/1/1").cost_of(name, Usage(MILLION, 0)) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["openai/gpt-9", "openai/claude-3-haiku-20240307", "openai/llama-3.3-70b", "openai/"])
def test_unpriced_model_does_not_borrow_a_relatives_price(name: str) -> None:
    assert Prices().cost_of(name, Usage(1, 1)) is None


def test_cost_without_usage_is_unknown() -> None:
    assert Prices().cost_of("openai/gpt-4o-mini", None) is None


def test_configured_price_comes_first() -> None:
    prices = Prices("openai/gpt-4o-mini=1/2, openai/own/model=3/4/0.5,")
    assert prices.cost_of("openai/gpt-4o-mini", Usage(MILLION, MILLION)) == pytest.approx(3)
    assert prices.cost_of("openai/own/model", Usage(MILLION, 0, cached_input_tokens=MILLION)) == pytest.approx(0.5)


def test_provider_is_free_by_its_kind_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(
        '[providers.ollama]\nkind = "openai"\naddress = "http://x"\n[providers.box]\nkind = "ollama"\naddress = "http://x"'
    )
    settings = Settings(
        ollama_url="off", providers_file=str(path), database_url="postgresql://x/x", redis_url="redis://x"
    )
    context = make_context(settings)
    try:
        assert context.prices.cost_of("box/llama", None) == 0.0
        assert context.prices.cost_of("box/gpt-4o", Usage(MILLION, MILLION)) == 0.0
        assert context.prices.cost_of("ollama/gpt-4o", Usage(MILLION, 0)) == pytest.approx(2.5)
        assert context.prices.cost_of("ollama/gpt-4o", None) is None
    finally:
        context.engine.dispose()


def test_negative_usage_costs_nothing() -> None:
    assert Prices("openai/x=1/1").cost_of("openai/x", Usage(-5, -5)) == 0.0


@pytest.mark.parametrize(
    "text", ["gpt=1/2", "openai/gpt=1", "openai/gpt=1/a", "openai/gpt=-1/2", "openai/gpt=nan/2", "=1/2"]
)
def test_prices_reject_invalid_entries(text: str) -> None:
    with pytest.raises(SettingsError, match="NARU_PRICES has"):
        Prices(text)
