"""Find personal data and secrets in a question before it leaves for a provider: NARU_PERSONAL_DATA.

Each kind has a check that ordinary numbers fail: a date and a check digit, the issuer's digits and Luhn's sum, or the
prefix of a key. Phone numbers have neither the length nor the form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime

from shared.errors import HoldsCardNumber, HoldsKey, HoldsResidentNumber, PersonalData
from shared.redaction import TOKEN
from shared.vendors import VENDORS

#: Policies: such a question is sent, is sent if the person sends it again, or is refused.
SEND, WARN, BLOCK = "send", "warn", "block"

# YYMMDD-SNNNNNC; S tells the century, the sex and whether the person is a foreigner.
_RESIDENT_NUMBER = re.compile(r"(?<![\d.])(?<!\d-)(?P<born>\d{6})(?P<dash>[ -]{1,3})?(?P<rest>\d{7})(?!-?\d)", re.ASCII)
_CENTURIES = {**dict.fromkeys("90", 1800), **dict.fromkeys("1256", 1900), **dict.fromkeys("3478", 2000)}
_FOREIGN = frozenset("5678")
_WEIGHTS = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
#: Numbers given since then are random after S, so their last digit checks nothing.
_RANDOM_SINCE = date(2020, 10, 5)

# Groups as they are printed on cards, with one kind of separator; or no groups at all.
_CARD_NUMBER = re.compile(
    r"(?<![\d.])(?<!\d-)"
    r"(?:\d{13,19}|\d{4}(?P<four>[ -])\d{4}(?P=four)\d{4}(?P=four)\d{1,7}|\d{4}(?P<six>[ -])\d{6}(?P=six)\d{4,5})"
    r"(?!\d)",
    re.ASCII,
)
# The first digits and the length: Visa; Mastercard; American Express; Diners; Discover; JCB; UnionPay; Korean cards.
_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11,16}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12,15}|35\d{14,17}|62\d{14,17}|9\d{15}",
    re.ASCII,
)

# Unlike the pattern for logs, it needs a long run with a digit: people ask about sk-learn and sk-hynix-2024-earnings.
_VENDORS_KEY = re.compile(
    rf"(?<![A-Za-z0-9])(?:{'|'.join(re.escape(vendor.key_begins) for vendor in VENDORS if vendor.key_begins)})"
    r"(?:[a-z0-9]{1,12}-){0,2}(?=[A-Za-z_]{0,200}\d)[A-Za-z0-9_]{12,}"
)
#: Korean barcodes (EAN-13) begin with these digits; some have the form of a resident number.
_BARCODE = "880"
#: Hyphens and spaces as keyboards and documents write them.
_AS_ASCII = str.maketrans("\u2010\u2011\u2012\u2013\u2014\u2212\t\n\r", "------   ")


def check(text: str, policy: str, *, confirmed: Collection[str] = ()) -> None:
    """Raise a PersonalData if the policy keeps this text back.

    `confirmed` has the codes of the kinds that the person was warned of before sending this text again.
    """
    if policy == SEND:
        return
    plain = unicodedata.normalize("NFKC", text).translate(_AS_ASCII)
    for error, is_in in _KINDS.items():
        if (policy == BLOCK or error.code not in confirmed) and is_in(plain):
            raise error(is_final=policy == BLOCK)


def holds_resident_number(text: str) -> bool:
    """Whether the text holds a Korean resident or foreigner registration number."""
    return any(map(_is_resident_number, _RESIDENT_NUMBER.finditer(text)))


def _is_resident_number(found: re.Match[str]) -> bool:
    digits = found["born"] + found["rest"]
    born = _birthday(digits)
    if born is None:
        return False
    if found["dash"] and born >= _RANDOM_SINCE:
        return True
    if not found["dash"] and digits.startswith(_BARCODE):
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=False))
    base = 13 if digits[6] in _FOREIGN else 11
    return (base - total % 11) % 10 == int(digits[-1])


def _birthday(digits: str) -> date | None:
    """Return the date in a resident number, or None if there is no such day or it is in the future."""
    try:
        born = date(_CENTURIES[digits[6]] + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return None
    return born if born <= datetime.now(UTC).date() else None


def holds_card_number(text: str) -> bool:
    """Whether the text holds the number of a payment card."""
    numbers = (re.sub(r"\D", "", found[0]) for found in _CARD_NUMBER.finditer(text))
    return any(_ISSUER.fullmatch(digits) and _is_luhn(digits) for digits in numbers)


def _is_luhn(digits: str) -> bool:
    """Whether the last digit is right (ISO/IEC 7812-1, annex B)."""
    doubled = [2 * int(digit) for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(each - 9 if each > 9 else each for each in doubled)) % 10 == 0


def holds_key(text: str) -> bool:
    """Whether the text holds a vendor's key, a token or a private key."""
    return bool(_VENDORS_KEY.search(text) or TOKEN.search(text))


_KINDS: Mapping[type[PersonalData], Callable[[str], bool]] = {
    HoldsResidentNumber: holds_resident_number,
    HoldsCardNumber: holds_card_number,
    HoldsKey: holds_key,
}
