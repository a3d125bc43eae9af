"""Chains of models: what NARU_FALLBACK and the table [fallback] may say, and a sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import Settings
from workers.providers.fallbacks import chains_in
from workers.providers.file import read_providers
from workers.providers.registry import Registry

PROVIDERS = ("openai", "anthropic")
FILE = '[providers.lab]\nkind = "ollama"\naddress = "http://127.0.0.1:1"\n\n[fallback]\n'


def test_setting_gives_chains() -> None:
    assert chains_in("openai/a > anthropic/b>openai/c, openai/c > openai/a", PROVIDERS) == {
        "openai/a": ("openai/a", "anthropic/b", "openai/c"),
        "openai/c": ("openai/c", "openai/a"),
    }
    assert chains_in("", PROVIDERS) == {}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("openai/a", "a chain has 2 to 6 models"),
        ("openai/a > b", "'b' is not provider/model"),
        ("openai/a > openai/b c", "'openai/b c' is not provider/model"),
        ("openai/a > lab/b", "there is no provider 'lab'. There are anthropic, openai"),
        ("openai/a > openai/b > openai/a", "a model is in the chain twice"),
        ("openai/a > openai/b, openai/a > openai/c", "two chains that begin with openai/a"),
    ],
)
def test_mistake_in_the_setting_is_named(setting: str, says: str) -> None:
    with pytest.raises(SettingsError, match="NARU_FALLBACK has") as refused:
        chains_in(setting, PROVIDERS)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ('"lab/a" = "lab/b"', "this is not a list of models"),
        ('"lab/a" = [1]', "this is not a list of models"),
        ('"lab/a" = []', "a chain has 2 to 6 models"),
        ('"lab/a" = ["lab/a"]', "a model is in the chain twice"),
        ('"lab/a" = ["openai/b"]', "there is no provider 'openai'. There are demo, lab"),
        ('lab = { a = ["lab/b"] }', "this is not a list of models"),
    ],
)
def test_mistake_in_the_file_is_named_with_its_line(tmp_path: Path, chain: str, says: str) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(f"{FILE}{chain}\n")
    with pytest.raises(SettingsError) as refused:
        read_providers(path, {}, ("demo",))
    assert str(refused.value).startswith(f"{path}, line 6: {says}")


def test_chain_of_the_file_replaces_that_of_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(f'{FILE}"lab/a" = ["lab/b", "lab/c"]\n')
    registry = Registry(Settings(ollama_url="off", providers_file=str(path), fallback="lab/a > lab/z, lab/b > lab/c"))
    assert registry.behind("lab/a", "lab/a") == ("lab/b", "lab/c")
    assert registry.behind("lab/a", "lab/b") == ("lab/c",)
    assert registry.behind("lab/b", "lab/b") == ("lab/c",)
    assert registry.behind("lab/a", "lab/z") == ()
    assert registry.behind("lab/z", "lab/z") == ()


def test_models_of_chains_are_offered_before_a_list(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(f'{FILE}"lab/a" = ["lab/b"]\n')
    registry = Registry(Settings(ollama_url="off", providers_file=str(path)))
    assert [each.name for each in registry.offers()] == ["lab/a", "lab/b"]
