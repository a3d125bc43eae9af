"""User-visible texts follow docs/glossary.md, and Korean sentences keep one level of politeness."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from deploy.embedded.processes import ROOT
from shared import errors
from shared.words import LOCALES
from shared.words.words import catalogue

ROW = re.compile(r"^\|([^|\n]+)\|([^|\n]+)\|([^|\n]*)\|([^|\n]*)\|$", re.MULTILINE)
#: Files whose literal sentences reach the user: the routes' refusals, and `naru ask`.
SPOKEN = (
    "web/api/answers.py",
    "web/api/events.py",
    "web/api/guard.py",
    "web/api/stop.py",
    "deploy/cli/ask.py",
)
#: Calls in those files that show their text to the user.
SPEAKING = {"Refusal", "UnknownModel", "complain", "note", "json_answer"}
#: Keys of the first questions, which the user says, not Naru.
ASKED = re.compile(r"empty\.\d\.text")
#: The last syllable of a Korean verb. A sentence that ends in one must be in 합니다체.
VERB_END = re.compile(r"[다요까오네죠라자]$")
POLITE_END = re.compile(r"(니다|세요|니까)$")


@dataclass(frozen=True)
class Term:
    """One row of the glossary."""

    english: str
    korean: str
    banned: dict[str, tuple[str, ...]]


def terms() -> list[Term]:
    """Return the rows of the table, without its header."""
    rows = ROW.findall((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"))[2:]
    return [Term(a.strip(), b.strip(), {"en": words(c), "ko": words(d)}) for a, b, c, d in rows]


def words(cell: str) -> tuple[str, ...]:
    """Return the words of one cell."""
    return tuple(word.strip() for word in cell.split(",") if word.strip())


def spoken(path: str) -> Iterator[str]:
    """Yield the text literals that a file passes to calls that show them."""
    for call in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        name = getattr(call.func, "attr", getattr(call.func, "id", "")) if isinstance(call, ast.Call) else ""
        if isinstance(call, ast.Call) and name in SPEAKING:
            parts = (part for argument in call.args for part in ast.walk(argument))
            yield from (part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))


def default_messages() -> Iterator[str]:
    """Yield the first line of every error's docstring, which `naru ask` and the routes print."""
    classes = [errors.NaruError]
    while classes:
        found = classes.pop()
        yield (found.__doc__ or "").split("\n", 1)[0]
        classes.extend(found.__subclasses__())


def sentences(locale: str) -> list[str]:
    """Return every sentence that a user reads in this language."""
    texts = list(catalogue(locale).values())
    if locale == "en":
        texts += [text for path in SPOKEN for text in spoken(path)]
        texts += default_messages()
    return texts


def uses(text: str, word: str, locale: str) -> bool:
    """Whether the text contains the word: in English as a whole word, in Korean anywhere."""
    if locale == "ko" and not word.isascii():
        return word in text
    flags = re.IGNORECASE if word.islower() or " " in word else 0
    return re.search(rf"(?<![\w./-]){re.escape(word)}(?!\w)", text, flags) is not None


@pytest.mark.parametrize("locale", LOCALES)
def test_no_sentence_uses_a_banned_word(locale: str) -> None:
    assert len(terms()) > 15
    found = [
        f"{word!r} ({term.english} · {term.korean}) in {text!r}"
        for term in terms()
        for word in term.banned[locale]
        for text in sentences(locale)
        if uses(text, word, locale)
    ]
    assert not found, "\n".join(found)


def test_glossary_covers_only_files_with_sentences() -> None:
    assert all(any(" " in text for text in spoken(path)) for path in SPOKEN)


def test_fixed_terms_have_one_korean_translation() -> None:
    fixed = {
        "chat": "대화",
        "model": "모델",
        "AI provider": "AI 제공업체",
        "administrator": "관리자",
        "database": "데이터베이스",
    }
    korean = catalogue("ko")
    for key, text in catalogue("en").items():
        for term, word in fixed.items():
            if uses(text, term, "en"):
                assert word in korean[key], f"{key}: {term} is {word}"


def test_korean_sentences_end_politely() -> None:
    for key, text in catalogue("ko").items():
        if ASKED.fullmatch(key):
            continue
        for sentence in re.split(r"[.!?…]+(?:\s|$)|\s\(", text):
            last = re.sub(r"[^가-힣]+$", "", re.sub(r"\{\w+\}.*", "", sentence).strip())
            if VERB_END.search(last):
                assert POLITE_END.search(last), f"{key}: {sentence}"


def test_korean_honorifics_stay_in_requests_and_questions() -> None:
    for key, text in catalogue("ko").items():
        assert not re.search(r"[가-힣]시(고|면|는|며)|하신", text), key


def test_each_language_uses_one_product_name() -> None:
    assert catalogue("ko")["app.name"] == "나루"
    assert [key for key, text in catalogue("ko").items() if re.search(r"\bNaru\b", text)] == []
    assert [key for key, text in catalogue("en").items() if "나루" in text] == []
