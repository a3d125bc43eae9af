"""The sign-in that a browser has begun.

The browser's cookie holds a secret. The state that goes to the provider and back is signed with it, so that no other
browser can use it, and names the place to return to. Nonce and PKCE verifier are derived from the secret and the state.
So no web process has to remember anything. The cookie leaves with the first use.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from itsdangerous import BadSignature, TimestampSigner

from shared.people.refusals import SignInExpired

#: Longest time for passwords and second factors at the provider.
SECONDS = 900


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. `back` is the place to return to (web/api/people/places.py), or ""."""

    secret: str
    state: str
    back: str

    @property
    def nonce(self) -> str:
        """The nonce that the ID token has to hold."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """The PKCE verifier: 43 letters, digits, - and _."""
        return self._derived("verifier")

    def _derived(self, purpose: str) -> str:
        digest = hmac.new(self.secret.encode(), f"{purpose}:{self.state}".encode(), sha256).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


def begin(secret: str, back: str) -> Attempt:
    """Begin an attempt in the browser with this secret."""
    return Attempt(secret, _signer(secret).sign(f"{secrets.token_urlsafe(16)}~{back}").decode(), back)


def resume(secret: str, state: str) -> Attempt:
    """Return the attempt with this state. Raises SignInExpired if it is old, or of another browser."""
    if not secret:
        raise SignInExpired
    try:
        signed = _signer(secret).unsign(state, max_age=SECONDS).decode()
    except (BadSignature, UnicodeError):
        raise SignInExpired from None
    return Attempt(secret, state, signed.partition("~")[2])


def _signer(secret: str) -> TimestampSigner:
    return TimestampSigner(secret, salt="naru.openid.state", digest_method=sha256)
