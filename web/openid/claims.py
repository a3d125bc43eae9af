"""The claims about a person: subject, e-mail address, name and groups; and whether that person may enter."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from shared.errors import BadEmail
from shared.people.accounts import normal_email
from shared.people.identities import Claimed
from shared.people.refusals import BadGroups, NotAdmitted, SignInInvalid
from shared.settings import Settings

log = logging.getLogger(__name__)

LONGEST_NAME = 200
#: OpenID Connect Core 1.0, section 2: a subject has at most 255 characters.
LONGEST_SUBJECT = 255
MOST_GROUPS = 2000
LONGEST_GROUP = 256


def claimed_in(claims: Mapping[str, Any], issuer: str, settings: Settings) -> Claimed:
    """Return the person in these claims. Raises SignInInvalid, BadGroups and NotAdmitted."""
    subject = _text(claims.get("sub"))
    if not subject or len(subject) > LONGEST_SUBJECT:
        raise SignInInvalid("The subject is missing or malformed.")
    groups = groups_in(claims, settings.oidc_groups_claim)
    allowed = settings.allowed_groups
    if allowed is not None and not groups & allowed:
        raise NotAdmitted
    name = _text(claims.get("name")) or _text(claims.get("preferred_username"))
    return Claimed(issuer=issuer, subject=subject, email=_email(claims), name=name[:LONGEST_NAME], groups=groups)


def lacks(claims: Mapping[str, Any], settings: Settings) -> bool:
    """Whether the provider may have more to say at its userinfo endpoint."""
    return "email" not in claims or _claim(claims, settings.oidc_groups_claim) is None


def groups_in(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """Return the names of the groups. Raises BadGroups unless the claim is missing or a list of names."""
    found = _claim(claims, name)
    elsewhere = claims.get("_claim_names")
    if found is None and isinstance(elsewhere, Mapping) and name in elsewhere:
        log.warning("too many groups for the token", extra={"claim": name})  # Microsoft Entra, above 200
        raise BadGroups
    if found is None:
        return frozenset()
    if not isinstance(found, list) or len(found) > MOST_GROUPS or not all(map(_is_name, found)):
        log.warning("groups are not a list of names", extra={"claim": name, "type": type(found).__name__})
        raise BadGroups
    return frozenset(found)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return the claim with this name; `realm_access.roles` is a claim within a claim."""
    if name in claims or "." not in name:
        return claims.get(name)
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_GROUP and value.isprintable()


def _email(claims: Mapping[str, Any]) -> str:
    """Return the e-mail address; "" if it is missing, malformed, or somebody may have made it up."""
    try:
        return "" if claims.get("email_verified") in (False, "false") else normal_email(_text(claims.get("email")))
    except BadEmail:
        return ""


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) and value.isprintable() else ""
