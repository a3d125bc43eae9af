"""Checks of an ID token (OpenID Connect Core 1.0, 3.1.3.7) and of a logout token (Back-Channel Logout 1.0, 2.6)."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet, import_key
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from shared.people.refusals import SignInClocks, SignInInvalid
from web.openid.metadata import Metadata

log = logging.getLogger(__name__)

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
#: A logout token is not older than this, and shared/people/allowances.py remembers it for longer.
LOGOUT_SECONDS = 300
#: The type of a logout token. The standard recommends the first; providers from before it send `JWT` or none, and then
#: the event in the claims has to tell it from other tokens.
_LOGOUT_TYPES = {"logout+jwt", "jwt"}
_MOST_CHARACTERS = 100_000


class UnknownKey(Exception):
    """The token is signed with a key that the provider did not have when its keys were fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The session that a logout token ends; `subject` or `sid` may be ""."""

    subject: str
    sid: str
    token_id: str


def keys_in(document: object) -> KeySet:
    """Return the keys of a JWK set that can check a signature; others are left out. Raises SignInInvalid for none."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    keys = [key for each in listed if (key := _key(each)) is not None] if isinstance(listed, list) else []
    if not keys:
        raise SignInInvalid("The provider has no keys.")
    return KeySet(keys)


def _key(entry: object) -> Key | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
        return None
    try:
        return import_key(entry)
    except (JoseError, ValueError, TypeError):
        return None


def id_claims(
    token: str, keys: KeySet, metadata: Metadata, *, client_id: str, nonce: str, access_token: str, skew: int
) -> dict[str, Any]:
    """Return the claims of an ID token. Raises UnknownKey, SignInClocks and SignInInvalid."""
    header, claims = _verified(token, keys, metadata)
    options = {"iss": {"value": metadata.issuer}, "aud": {"value": client_id}}
    params = {"nonce": nonce, "client_id": client_id, "access_token": access_token}
    _warn_of_clocks(claims, skew)
    try:
        CodeIDToken(claims, header, options, params).validate(leeway=skew)
    except ExpiredTokenError:
        raise SignInClocks from None  # it comes from the provider this moment
    except InvalidClaimError as error:
        if error.claim in {"iat", "nbf"} and _is_number(claims.get(error.claim)):
            raise SignInClocks from None
        raise _invalid(error) from None
    except (JoseError, ValueError, TypeError) as error:
        raise _invalid(error) from None
    return claims


def ended_session(token: str, keys: KeySet, metadata: Metadata, *, client_id: str, skew: int) -> Ended:
    """Return the session that a logout token ends. Raises UnknownKey, SignInClocks and SignInInvalid."""
    header, claims = _verified(token, keys, metadata)
    if str(header.get("typ") or "jwt").lower().removeprefix("application/") not in _LOGOUT_TYPES:
        raise SignInInvalid("The token is of another type than logout+jwt.")
    registry = JWTClaimsRegistry(
        leeway=skew,
        iss={"essential": True, "value": metadata.issuer},
        aud={"essential": True, "value": client_id},
        iat={"essential": True},
        exp={"essential": True},
        jti={"essential": True},
    )
    try:
        registry.validate(claims)
    except JoseError as error:
        raise _invalid(error) from None
    if claims["iat"] < time.time() - LOGOUT_SECONDS - skew:
        raise SignInInvalid("The logout token is old.")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict) or "nonce" in claims:
        raise SignInInvalid("This is not a logout token.")
    subject, sid = (claims.get(name) or "" for name in ("sub", "sid"))
    if not isinstance(subject, str) or not isinstance(sid, str) or not (subject or sid):
        raise SignInInvalid("The logout token names no session.")
    return Ended(subject=subject, sid=sid, token_id=claims["jti"])


def _verified(token: str, keys: KeySet, metadata: Metadata) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(token) > _MOST_CHARACTERS:
        raise SignInInvalid("The token is too long.")
    registry = JWSRegistry(algorithms=list(metadata.algorithms), strict_check_header=False)
    try:
        read = jwt.decode(token, keys, registry=registry)
    except (InvalidKeyIdError, BadSignatureError) as error:
        raise UnknownKey(str(error)) from None  # a provider may even change a key and keep its id
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise _invalid(error) from None
    return dict(read.header), dict(read.claims)


def _warn_of_clocks(claims: Mapping[str, Any], skew: int) -> None:
    issued = claims.get("iat")
    if _is_number(issued) and abs(apart := float(issued or 0) - time.time()) > skew:
        log.warning("the provider's clock is apart from Naru's", extra={"seconds": round(apart)})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _invalid(error: Exception) -> SignInInvalid:
    """Return the refusal with the reason, which names a claim or a header, but no value."""
    return SignInInvalid(f"{type(error).__name__}: {error}"[:200])
