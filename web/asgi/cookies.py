"""The signed cookie that identifies a browser: its names, its value, and how a request's cookies are checked.

    __Host-naru_browser_KEYID    over TLS: no other host and no plain HTTP can set a cookie of this name
    naru_browser_KEYID           over plain HTTP
    naru_browser                 of earlier versions, signed with HMAC-SHA1; read, never written

KEYID identifies the signing key (shared/keys.py). Cookies ignore ports, so two Narus on one machine need two names to
avoid overwriting each other, and get them from their two keys. Cookies signed with another key are left alone for the
same reason: once the right key is back, every browser is recognised again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from itsdangerous import BadSignature, TimestampSigner

from shared.keys import endings_of, key_id, keys_in

LEGACY_NAME = "naru_browser"
PLAIN, HOST = "naru_browser_", "__Host-naru_browser_"
LIFETIME_SECONDS = 365 * 86_400
#: When a page is loaded, an older cookie is renewed with the same identity.
RENEW_AFTER_SECONDS = 86_400
_WELL_FORMED = re.compile(r"[0-9a-f]{32}\.[A-Za-z0-9_-]{1,12}\.[A-Za-z0-9_-]{27,43}")


class Verdict(StrEnum):
    """The result of checking a request's cookies."""

    GOOD = "good"
    #: No cookie of ours.
    MISSING = "missing"
    #: Only unusable cookies: signed with another key, expired or malformed.
    REFUSED = "refused"
    #: A well-formed cookie with a wrong signature, under the name that we would write.
    FORGED = "forged"
    #: An account is needed, and the browser has no session. Set by IdentityMiddleware.
    SIGNED_OUT = "signed_out"
    #: An account is needed, and the session cannot be read without the database. Set by IdentityMiddleware.
    UNKNOWN = "unknown"
    #: One name occurs twice, so somebody else set one of the two (cookie tossing).
    DOUBLED = "doubled"

    @property
    def forbids_cookie(self) -> bool:
        """Whether a new cookie might overwrite the browser's own."""
        return self in {Verdict.FORGED, Verdict.DOUBLED}


@dataclass(frozen=True, slots=True)
class Reading:
    """The verdict, with `browser_id` if it is GOOD."""

    verdict: Verdict
    browser_id: UUID | None = None
    #: Signed with the newest key less than a day ago, under the name that fits the connection.
    is_current: bool = False


class Cookies:
    """Makes and reads the cookie. The same keys in every web process make the same identities."""

    def __init__(self, secret_key: str) -> None:
        """`secret_key` is NARU_SECRET_KEY, with one key or several."""
        keys = keys_in(secret_key)
        self._host, self._plain = (
            [(prefix + key_id(key), _signer(key, prefix)) for key in keys] for prefix in (HOST, PLAIN)
        )
        self._legacy = [TimestampSigner(ending, salt="naru.browser") for ending in endings_of(secret_key)]

    def make(self, browser_id: UUID, *, is_tls: bool = False) -> tuple[str, str]:
        """Return name and value of this browser's cookie."""
        name, signer = (self._host if is_tls else self._plain)[0]
        return name, signer.sign(browser_id.hex).decode()

    def read(self, cookie_headers: Iterable[str], *, is_tls: bool) -> Reading:
        """Check a request's Cookie headers: the newest key first, TLS before plain HTTP, the old name last.

        `is_tls` decides which name a new cookie would have. A `__Host-` cookie counts on plain HTTP too: browsers send
        it over TLS only, so a proxy must have ended the TLS without telling us.
        """
        given = _by_name(cookie_headers)
        written = (self._host if is_tls else self._plain)[0][0]
        places = [*self._host, *self._plain, *((LEGACY_NAME, signer) for signer in self._legacy)]
        for name, signer in places:
            values = given.get(name, ())
            if len(values) > 1:
                return Reading(Verdict.DOUBLED)
            if not values:
                continue
            found = _unsigned(signer, values[0])
            if found is not None:
                browser_id, age = found
                is_fitting = name == written or name == self._host[0][0]
                return Reading(Verdict.GOOD, browser_id, is_current=is_fitting and age < RENEW_AFTER_SECONDS)
            if name == written and _is_forged(signer, values[0]):
                return Reading(Verdict.FORGED)
        others = any(name.startswith((LEGACY_NAME, HOST)) for name in given)
        return Reading(Verdict.REFUSED if others else Verdict.MISSING)


def set_cookie(name: str, value: str, *, seconds: int = LIFETIME_SECONDS) -> str:
    """Return the Set-Cookie header's value. With 0 `seconds` the browser forgets the cookie."""
    secure = "; Secure" if name.startswith("__Host-") else ""
    return f"{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"


class TokenCookie:
    """A cookie with a random token: `__Host-naru_WHAT_KEYID` over TLS, else `naru_WHAT_KEYID`.

    The token is signed, so that made-up ones cost no query. Like the browser's cookie, the name tells two Narus on one
    host apart, and earlier keys still verify.
    """

    def __init__(self, secret_key: str, what: str, *, seconds: int | None = None) -> None:
        """`seconds` is the time after which the token is no longer read; None for a token that has its own limits."""
        self._seconds = seconds
        self._host, self._plain = (
            [(f"{prefix}{key_id(key)}", _signer(key, prefix)) for key in keys_in(secret_key)]
            for prefix in (f"__Host-naru_{what}_", f"naru_{what}_")
        )

    def make(self, token: str, *, is_tls: bool) -> tuple[str, str]:
        """Return name and value of the cookie with this token."""
        name, signer = (self._host if is_tls else self._plain)[0]
        return name, signer.sign(token).decode()

    @property
    def names(self) -> list[str]:
        """All names that the cookie may have."""
        return [name for name, _ in (*self._host, *self._plain)]

    def is_old(self, cookie_headers: Iterable[str], *, is_tls: bool) -> bool:
        """Whether the request has no cookie of the newest key, under the name that fits the connection."""
        return (self._host if is_tls else self._plain)[0][0] not in _by_name(cookie_headers)

    def read(self, cookie_headers: Iterable[str], *, is_tls: bool) -> str | None:
        """Return the token; None without one, and if a name occurs twice, since somebody else may have set one.

        Over TLS, a name that anybody may set over plain HTTP does not count.
        """
        given = _by_name(cookie_headers)
        for name, signer in self._host if is_tls else [*self._host, *self._plain]:
            values = given.get(name, [])
            if len(values) > 1:
                return None
            if values and (token := _token_in(signer, values[0], self._seconds)):
                return token
        return None


class SessionCookie(TokenCookie):
    """The cookie with a session's token."""

    def __init__(self, secret_key: str) -> None:
        super().__init__(secret_key, "session")


def _token_in(signer: TimestampSigner, value: str, seconds: int | None) -> str:
    try:
        return signer.unsign(value, max_age=seconds).decode()
    except (BadSignature, ValueError):
        return ""


def _signer(key: str, prefix: str) -> TimestampSigner:
    # The prefix is part of the salt, so that a value from TLS is invalid under the name that anyone may set.
    return TimestampSigner(key, salt=f"naru.cookie:{prefix}", digest_method=sha256)


def _by_name(cookie_headers: Iterable[str]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for header in cookie_headers:
        for pair in header.split(";"):
            name, _, value = pair.partition("=")
            given.setdefault(name.strip(), []).append(value.strip())
    return given


def _unsigned(signer: TimestampSigner, value: str) -> tuple[UUID, float] | None:
    """Return the browser's id and the cookie's age in seconds; None if it is forged or expired."""
    try:
        # Check the age here: `max_age` would also refuse a cookie from the future, which a web process makes whose
        # clock is a second ahead, and the browser would lose its conversations.
        signed, at = signer.unsign(value, return_timestamp=True)
        age = signer.get_timestamp() - at.timestamp()
        return None if age > LIFETIME_SECONDS else (UUID(hex=signed.decode()), age)
    except (BadSignature, ValueError, OverflowError):
        return None


def _is_forged(signer: TimestampSigner, value: str) -> bool:
    return _WELL_FORMED.fullmatch(value) is not None and not signer.validate(value)
