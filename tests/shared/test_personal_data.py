"""Tests of personal data in questions: each kind is found in its usual forms, and ordinary numbers are not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from shared.errors import HoldsCardNumber, HoldsKey, HoldsResidentNumber, PersonalData
from shared.personal_data import BLOCK, SEND, WARN, check, holds_card_number, holds_key, holds_resident_number

FINDERS = (holds_resident_number, holds_card_number, holds_key)
RESIDENT_NUMBER = "900101-1234568"
CARD_NUMBER = "4111 1111 1111 1111"
KEY = "sk-ant-api03-aBcDeFgH1234iJkL"

RESIDENT_NUMBERS = (
    RESIDENT_NUMBER,
    "9001011234568",
    "900101 - 1234568",
    "주민번호는 900101-1234568입니다.",
    "0002293234563",  # a leap day of 2000
    "850315-5123450",  # a foreigner: another check digit
    "주민번호-900101-1234568",
    "900101 1234568",
    "９００１０１－１２３４５６８",  # as Korean keyboards write it in full width
    "900101\u20111234568",
    "201012-3123456",  # since October 2020 the last digit checks nothing
)
CARD_NUMBERS = (
    CARD_NUMBER,
    "4111-1111-1111-1111",
    "5555555555554444",
    "2221000000000009",
    "3782 822463 10005",
    "6011000990139424",
    "9410-1234-5678-9010",
    "4111\u00a01111\u00a01111\u00a01111",
)
KEYS = (
    KEY,
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "a1" * 18,
    "xoxb-123456789012-abcdef",
    "-----BEGIN RSA PRIVATE KEY-----",
)
ORDINARY = (
    "010-1234-5678",
    "+82 10-1234-5678",
    "02-1234-5678 010-9876-5432",
    "1588-1234 1544-5678",
    "900101-1234567",  # a wrong check digit
    "901301-1234568",  # no such month
    "991231-3000005",  # not born yet
    "4111 1111 1111 1112",
    "4111-1111 1111-1111",  # two separators
    "1234 5678 9012 3452",  # Luhn's sum is right, but no issuer has it
    "110-123-456789",  # an account at a bank
    "9781234567897",  # a book
    "1732848000000",  # milliseconds
    "sk-learn-contrib and skiing",
    "https://example.org/sk-hynix-2024-earnings",
    "sk-telecom-q3-2025",
    "8801062628476",  # a Korean barcode with a valid date and check digit
    "0.2645751311064591",
    "What is a JWT?",
)


@pytest.mark.parametrize("text", RESIDENT_NUMBERS)
def test_resident_numbers_are_found(text: str) -> None:
    with pytest.raises(HoldsResidentNumber):
        check(text, WARN)


@pytest.mark.parametrize("text", CARD_NUMBERS)
def test_card_numbers_are_found(text: str) -> None:
    with pytest.raises(HoldsCardNumber):
        check(text, WARN)


@pytest.mark.parametrize("around", ["Why does {} fail?", "키는{}은 왜 안 됩니까?"])
@pytest.mark.parametrize("text", KEYS)
def test_keys_are_found(text: str, around: str) -> None:
    with pytest.raises(HoldsKey):
        check(around.format(text), WARN)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_numbers_are_sent(text: str) -> None:
    check(text, BLOCK)
    assert not any(find(text) for find in FINDERS)


@pytest.mark.parametrize("form", ["010-{}-{}", "010{}{}", "+8210{}{}", "02-{}-{} 010-{}-{}", "{}-{} {}-{}"])
def test_phone_numbers_are_never_found(form: str) -> None:
    draw = random.Random(1130)
    for _ in range(5_000):
        text = form.format(*(f"{draw.randrange(10_000):04d}" for _ in range(4)))
        assert not holds_resident_number(text), text
        assert not holds_card_number(text), text


@pytest.mark.parametrize(
    ("text", "error"), [(RESIDENT_NUMBER, HoldsResidentNumber), (CARD_NUMBER, HoldsCardNumber), (KEY, HoldsKey)]
)
def test_policy_decides_what_is_sent(text: str, error: type[PersonalData]) -> None:
    check(text, SEND)
    check(text, WARN, confirmed={error.code})
    for policy, confirmed, is_final in ((WARN, {"other"}, False), (BLOCK, {error.code}, True)):
        with pytest.raises(error) as raised:
            check(text, policy, confirmed=confirmed)
        assert raised.value.is_final is is_final
        assert text not in str(raised.value), "no message holds the person's words"


def test_each_kind_is_warned_of() -> None:
    text = f"{RESIDENT_NUMBER} {KEY}"
    with pytest.raises(HoldsResidentNumber):
        check(text, WARN)
    with pytest.raises(HoldsKey):
        check(text, WARN, confirmed={HoldsResidentNumber.code})


@pytest.mark.parametrize("find", FINDERS)
def test_longest_question_is_searched_quickly(find: Callable[[str], bool]) -> None:
    for part in ("1", "1 ", "1-", "4111 ", "900101-1234567 ", "sk-", "sk-a", "eyJ", "-eyJ", "eyJabcdef "):
        assert not find(part * (32_000 // len(part))), part
