"""The provider's discovery document (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

#: Signatures that only the provider can make. With HS256 everybody who knows the client's secret could.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
#: The ways to tell the client's secret, the preferred one first.
AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class BadMetadata(Exception):
    """The document cannot be used; the message is a sentence for whoever runs Naru."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The parts of the document that Naru uses. `userinfo` and `end_session` are "" where there is none."""

    issuer: str
    authorization: str
    token: str
    keys: str
    userinfo: str
    end_session: str
    algorithms: tuple[str, ...]
    auth_method: str
    #: Whether every authorization response names the issuer (RFC 9207).
    sends_issuer: bool


def address_of(issuer: str) -> str:
    """Return the address of the issuer's document."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def metadata_of(document: object, issuer: str) -> Metadata:
    """Return the metadata in a parsed document. Raises BadMetadata."""
    if not isinstance(document, Mapping):
        raise BadMetadata("the document is not a JSON object: NARU_OIDC_ISSUER leads to something else.")
    if document.get("issuer") != issuer:
        named = str(document.get("issuer"))[:200]
        raise BadMetadata(
            f"the document names the issuer {named}, and NARU_OIDC_ISSUER is {issuer}. If the provider's address has "
            "changed, set the new one and run: ./naru people issuer OLD"
        )
    methods = document.get("code_challenge_methods_supported")
    if isinstance(methods, list) and "S256" not in methods:
        raise BadMetadata("the provider does not support PKCE with S256, without which Naru signs nobody in.")
    return Metadata(
        issuer=issuer,
        authorization=_address(document, "authorization_endpoint", issuer),
        token=_address(document, "token_endpoint", issuer),
        keys=_address(document, "jwks_uri", issuer),
        userinfo=_address(document, "userinfo_endpoint", issuer, is_needed=False),
        end_session=_address(document, "end_session_endpoint", issuer, is_needed=False),
        algorithms=_supported(document, "id_token_signing_alg_values_supported", ALGORITHMS, "RS256"),
        auth_method=_supported(document, "token_endpoint_auth_methods_supported", AUTH_METHODS, AUTH_METHODS[0])[0],
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _address(document: Mapping[str, Any], name: str, issuer: str, *, is_needed: bool = True) -> str:
    value = document.get(name)
    if not value and not is_needed:
        return ""
    if not isinstance(value, str) or not value.startswith(("https://", f"{urlsplit(issuer).scheme}://")):
        raise BadMetadata(f"the document has no usable {name}: it must be an address with https://.")
    return value


def _supported(document: Mapping[str, Any], name: str, ours: tuple[str, ...], default: str) -> tuple[str, ...]:
    """Return the values that both sides support, in our order."""
    theirs = document.get(name) or [default]
    found = tuple(each for each in ours if isinstance(theirs, list) and each in theirs)
    if not found:
        raise BadMetadata(f"the document's {name} has none of {', '.join(ours)}.")
    return found
