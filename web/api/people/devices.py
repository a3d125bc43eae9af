"""Devices: which browsers have signed in to an account before, and what a browser calls itself.

A browser that has signed in keeps a signed cookie for a year. Its attempts count apart from those of everybody else
(OWASP's device cookies): whoever guesses at an account from outside cannot lock its own people out.
"""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import Request

from shared.keys import key_id, keys_in
from shared.people import Owner
from web.asgi.cookies import LIFETIME_SECONDS, set_cookie

#: Marks in a browser's User-Agent, the most telling first: nearly all name Chrome and Safari too.
_PROGRAMS = {
    "Edg": "Edge",
    "OPR": "Opera",
    "SamsungBrowser": "Samsung Internet",
    "Whale": "Whale",
    "Firefox": "Firefox",
    "FxiOS": "Firefox",
    "CriOS": "Chrome",
    "Chrome": "Chrome",
    "Safari": "Safari",
}
_SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "Mac",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


def device_of(user_agent: str) -> str:
    """Return the browser and its system as a person knows them: `Chrome · Windows`; "?" if neither is known."""
    found = [next((known[mark] for mark in known if mark in user_agent), "") for known in (_PROGRAMS, _SYSTEMS)]
    return " · ".join(name for name in found if name) or "?"


class KnownDevices:
    """Makes and reads the cookie of a browser that has signed in to an account."""

    def __init__(self, secret_key: str) -> None:
        self._signers = {
            f"naru_device_{key_id(key)}": TimestampSigner(key, salt="naru.device", digest_method=sha256)
            for key in keys_in(secret_key)
        }

    def cookie(self, owner: Owner, browser_id: UUID, *, is_tls: bool) -> str:
        """Return the Set-Cookie header's value: this browser has signed in as this person."""
        name, signer = next(iter(self._signers.items()))
        value = signer.sign(f"{owner.id}.{browser_id}").decode()
        return set_cookie(f"__Host-{name}" if is_tls else name, value)

    def is_somebody_elses(self, request: Request, owner: Owner) -> bool:
        """Whether the last person who signed in here, as far as the browser tells, was another one."""
        return any(not value.startswith(f"{owner.id}.") for _, value in self._values(request))

    def has_signed_in(self, request: Request, owner: Owner, browser_id: UUID | None) -> bool:
        """Whether this browser has signed in as this person within a year."""
        expected = f"{owner.id}.{browser_id}"
        return browser_id is not None and any(
            _is_signed(signer, value, expected) for signer, value in self._values(request)
        )

    def _values(self, request: Request) -> list[tuple[TimestampSigner, str]]:
        return [
            (signer, value)
            for name, signer in self._signers.items()
            for value in (request.cookies.get(f"__Host-{name}"), request.cookies.get(name))
            if value
        ]


def _is_signed(signer: TimestampSigner, value: str, expected: str) -> bool:
    try:
        return signer.unsign(value, max_age=LIFETIME_SECONDS).decode() == expected
    except (BadSignature, UnicodeDecodeError):
        return False
