"""Company sign-in: Naru as a client of an OpenID Connect provider. Authlib and joserfc speak the protocol.

    provider   the calls to the provider, each with a time limit; its discovery document and keys, kept for an hour
    metadata   the discovery document, and what is wrong with it
    tokens     checks of an ID token and of a logout token
    claims     e-mail address, name, groups: who may enter, and as whom
    attempts   the sign-in that a browser has begun: state, nonce, PKCE

The routes are in `web/api/people/openid.py`; accounts are in `shared/people/identities.py`. Only a process that offers
company sign-in loads the libraries, which take 13 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.settings import Settings

if TYPE_CHECKING:
    from web.openid.provider import Provider


def provider_of(settings: Settings) -> Provider | None:
    """Return the provider that the settings name; None without company sign-in. Raises SettingsError."""
    if not settings.has_openid:
        return None
    settings.need_openid()
    from web.openid.provider import Provider  # noqa: PLC0415 - see above

    return Provider(settings)
