"""The catalogues: same keys and placeholders in both languages, a sentence for every error, no unused key."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from shared import (
    errors,
    fleet,  # noqa: F401 - its error has a sentence too
)
from shared.people import refusals  # noqa: F401 - its errors have sentences too
from shared.spending import refusals as of_spending  # noqa: F401 - the same
from shared.tuning import EFFORTS
from shared.words import LOCALES, Words, best_locale
from shared.words.words import catalogue

WEB = Path(__file__).parents[2] / "web"
#: Prefixes of keys that the code builds at run time. All of their keys count as used.
GROUPS = ("error.", "no_model.", "audit.kind.", "audit.detail.", "live.", "empty.", "sidebar.", "streamlit.")


def codes() -> Iterator[str]:
    """Yield every error code that a row or a refusal may carry."""
    classes = [errors.NaruError]
    while classes:
        found = classes.pop()
        yield found.code
        classes.extend(found.__subclasses__())
    yield from (errors.DEADLINE, errors.WORKER_LOST, errors.RESTORED, errors.INTERNAL)


def placeholders(text: str) -> set[str | None]:
    """Return the names of a text's placeholders."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("locale", LOCALES)
def test_no_key_stands_twice(locale: str) -> None:
    pairs: list[tuple[str, str]] = []
    text = (WEB.parent / "shared" / "words" / f"{locale}.json").read_text(encoding="utf-8")
    json.loads(text, object_pairs_hook=pairs.extend)
    keys = [key for key, _ in pairs]
    assert {key for key in keys if keys.count(key) > 1} == set()


def test_both_languages_have_the_same_keys_and_placeholders() -> None:
    english, korean = catalogue("en"), catalogue("ko")
    assert list(english) == list(korean)
    for key, text in english.items():
        assert placeholders(text) == placeholders(korean[key]), key
        assert text.strip(), key
        assert korean[key].strip(), key


@pytest.mark.parametrize("locale", LOCALES)
def test_every_error_has_its_sentence(locale: str) -> None:
    missing = {f"error.{code}" for code in codes()} - set(catalogue(locale))
    assert not missing


PARTS = ("tokens_per_day", "tokens_per_month", "money_per_month")


def test_every_key_in_the_code_exists_and_every_key_is_used() -> None:
    keys = set(catalogue("en"))
    sources = [
        path.read_text(encoding="utf-8")
        for path in (
            WEB / "page.py",
            WEB.parent / "shared" / "mail.py",
            *(found for room in ("views", "api", "asgi") for found in (WEB / room).rglob("*.py")),
        )
    ]
    scripts = "".join(path.read_text(encoding="utf-8") for path in WEB.glob("live/*.js"))
    named = {key for source in sources for key in re.findall(r"[\"']([a-z_]+\.[a-z_0-9.]+)[\"']", source)}
    named = {key for key in named if key.split(".")[0] in {each.split(".")[0] for each in keys}}
    assert named - keys - {"empty.1", "empty.2", "empty.3", "empty.4"} == set()
    said = {f"live.{key}" for key in re.findall(r'say\("(\w+)"', scripts)}
    assert said - keys == set()
    built = {f"answer.{finish}" for finish in ("length", "content_filter", "refusal", "copy", "copied")}
    # The parts of an allowance are named like the fields of shared/spending/values.py.
    built |= {f"effort.{effort}" for effort in EFFORTS}
    built |= {f"{group}.{part}" for group in ("usage", "left") for part in PARTS}
    assert {key for key in keys - named - said - built if not key.startswith(GROUPS)} == set()


def test_korean_uses_one_polite_style() -> None:
    for key, text in catalogue("ko").items():
        assert not re.search(r"(해요|어요|아요|예요|에요|네요|죠)[.!?]?$", text), key


def test_first_supported_preference_decides_the_language() -> None:
    assert best_locale(None, "ko-KR") == "ko"
    assert best_locale("en", "ko-KR") == "en"
    assert best_locale("fr-FR", None) == "en"


def test_numbers_and_dates_follow_the_language() -> None:
    moment = datetime(2026, 11, 3, 9, 5)  # noqa: DTZ001 - a moment as it is shown
    assert Words("en").time(moment) == "Nov 3, 09:05"
    assert Words("ko").time(moment) == "11월 3일 09:05"
    assert "100,000" in Words("en").error("too_long", length=100_000, limit=1000)


def test_unknown_code_still_gets_a_sentence() -> None:
    assert Words("en").error("made_up_tomorrow") == Words("en").t("error.provider")
