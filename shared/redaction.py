"""Removes keys, tokens, passwords and addresses from log lines.

The rule is to log ids, counts and codes only. This is the safety net for secrets inside third-party messages, such as
an SDK's error. `deploy/logging/pipeline.conf` is the second net, with patterns of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shared.vendors import VENDORS

REDACTED = "[redacted]"
#: Fields whose text is always redacted.
_FIELDS = frozenset(
    (
        *("authorization", "proxy_authorization", "api_key", "apikey", "x_api_key", "password", "passwd", "secret"),
        *("secret_key", "cookie", "set_cookie", "access_token", "refresh_token", "id_token", "token"),
        *("prompt", "content", "question", "answer"),
    )
)
_TOKENS = ("access_token", "refresh_token", "id_token", "session_token", "auth_token")
_NAMED = "|".join(
    (
        r"(?:proxy-)?authorization|(?:x-)?api[-_ ]?key|(?:sentinel_)?passw(?:or)?d|secret(?:[-_]key)?|(?:set-)?cookie",
        *_TOKENS,
    )
)
_KEYS_BEGIN = "|".join(re.escape(vendor.key_begins) for vendor in VENDORS if vendor.key_begins)
#: Tokens that their form gives away: a JWT, AWS's, GitHub's, Slack's and Google's keys, a private key. A Korean
#: particle may follow at once, so only ASCII letters and digits continue a token. The lengths keep a search linear.
TOKEN = re.compile(
    r"(?<![A-Za-z0-9_-])(?:eyJ[A-Za-z0-9_-]{6,2000}\.[A-Za-z0-9_-]{6,8000}\.[A-Za-z0-9_-]*"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[oprsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{30,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35})"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A value after a name such as `api_key=…` or `'Authorization': 'Bearer …'`.
    (
        re.compile(
            rf"""\b({_NAMED})(["'\\]*\s*[:=]\s*["'\\]*)(?:(?:bearer|basic)\s+)?[^\s"'\\,;&{{}}()\[\]]+""", re.IGNORECASE
        ),
        rf"\1\2{REDACTED}",
    ),
    # The value needs a digit (or a capital letter), so that "basic questions" does not match.
    (re.compile(r"\b(bearer)\s+(?=\S*\d)[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"\b(Basic)\s+(?=\S*[A-Z0-9])[A-Za-z0-9+/]{8,}={0,2}"), rf"\1 {REDACTED}"),
    # postgresql://user:password@host, redis://:password@host
    (re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/@]+@", re.IGNORECASE), rf"\1:{REDACTED}@"),
    # A vendor's key.
    (re.compile(rf"(?<![A-Za-z0-9])(?:{_KEYS_BEGIN})[A-Za-z0-9_-]{{8,}}"), REDACTED),
    (TOKEN, REDACTED),
    (re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"), REDACTED),
)
#: Every line with a secret contains one of these; searching for them is cheap.
_MARKS = (
    *(vendor.key_begins for vendor in VENDORS if vendor.key_begins),
    *("eyj", "akia", "asia", "ghp_", "gho_", "ghr_", "ghs_", "ghu_", "github_pat_", "xox", "aiza", "private key"),
    *("@", "bearer ", "basic ", "authorization", "api", "passw", "secret", "cookie"),
    *('"token"', '"prompt"', '"content"', '"question"', '"answer"'),
    *_TOKENS,
)


def may_hold_secrets(line: str) -> bool:
    """Whether a line of JSON may need redaction; False for nearly all of our lines."""
    small = line.lower()
    return any(mark in small for mark in _MARKS)


def redacted(text: str) -> str:
    """Return the text with everything that looks like a secret or an address replaced."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def without_secrets(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a log line: private fields replaced, the text of the others redacted."""
    return {key: REDACTED if _is_private(key, value) else _clean(value) for key, value in line.items()}


def _is_private(key: object, value: object) -> bool:
    # A number or None is a count (`input_tokens`), not a secret.
    return isinstance(key, str) and isinstance(value, str | bytes) and key.lower().replace("-", "_") in _FIELDS


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(each) for each in value]
    if value is None or isinstance(value, int | float):
        return value
    return redacted(str(value))
