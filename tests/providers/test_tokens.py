"""Tests of the estimate of tokens, against the counts of real tokenizers in token_texts/counts.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workers.providers.tokens import TOKENS_PER_MESSAGE, estimate_tokens

FOLDER = Path(__file__).parent / "token_texts"
COUNTS: dict[str, dict[str, int]] = json.loads((FOLDER / "counts.json").read_text("utf-8"))["counts"]


def estimated(name: str) -> int:
    return estimate_tokens((FOLDER / f"{name}.txt").read_text("utf-8")) - TOKENS_PER_MESSAGE


def ratio(kind: str, tokenizer: str) -> float:
    names = [name for name in COUNTS if name.startswith(kind)]
    assert len(names) >= 3
    return sum(map(estimated, names)) / sum(COUNTS[name][tokenizer] for name in names)


def test_every_text_has_counts() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(COUNTS)


@pytest.mark.parametrize("tokenizer", ["o200k_base", "deepseek"])
@pytest.mark.parametrize("kind", ["korean", "english", "code"])
def test_estimate_errs_by_at_most_15_percent(kind: str, tokenizer: str) -> None:
    assert 0.85 <= ratio(kind, tokenizer) <= 1.15


@pytest.mark.parametrize("kind", ["korean", "english", "code"])
def test_estimate_errs_high_for_current_models(kind: str) -> None:
    assert ratio(kind, "o200k_base") >= 1


def test_older_tokenizer_needs_at_most_twice_the_estimate() -> None:
    """A refused prompt is halved where the server names no number, so one more call is enough."""
    assert ratio("korean", "cl100k_base") > 0.5


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("0123456789abcdef" * 1000, 10_000, 25_000),
        ("漢字と仮名。" * 100, 500, 1000),
        ("😀" * 100, 100, 300),
        ("\ud800" * 10, 0, 20),
        ("가" * 5000, 3000, 5000),
    ],
    ids=["empty", "hex", "japanese", "emoji", "surrogates", "syllables"],
)
def test_estimate_of_unusual_text_is_plausible(text: str, least: int, most: int) -> None:
    assert least <= estimate_tokens(text) - TOKENS_PER_MESSAGE <= most
