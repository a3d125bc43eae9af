"""The calls to the provider. Each has a time limit; its discovery document and its keys are kept."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

import httpx2
from authlib.common.urls import add_params_to_uri
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc.jwk import KeySet

from shared.errors import Unavailable
from shared.people.refusals import SignInInvalid, SignInRefused, SignInUnreachable
from shared.settings import Settings
from web.openid import claims as claims_of
from web.openid import tokens
from web.openid.attempts import Attempt
from web.openid.metadata import BadMetadata, Metadata, address_of, metadata_of

log = logging.getLogger(__name__)

#: How long the discovery document and the keys are kept.
KEPT_SECONDS = 3600.0
#: An unknown key makes Naru fetch the keys again, at most this often: anyone can make up tokens.
PAUSE_SECONDS = 3.0
#: Sign-ins that exchange a code at once. Anyone can make up codes, and each one costs a connection.
MOST_AT_ONCE = 100
T = TypeVar("T")


class _Kept(Generic[T]):
    """A document that is fetched once for all who ask at the same time."""

    def __init__(self, fetch: Callable[[], Awaitable[T]]) -> None:
        self._fetch = fetch
        self._fetching: asyncio.Task[T] | None = None
        self._value: T | None = None
        self._at = 0.0

    async def get(self, *, within_seconds: float = KEPT_SECONDS) -> T:
        """Return the document, fetched at most `within_seconds` ago. Raises what the fetch raises."""
        if self._value is not None and time.monotonic() - self._at < within_seconds:
            return self._value
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(self._renew())
            self._fetching.add_done_callback(self._ended)
        return await asyncio.shield(self._fetching)  # one visitor who leaves must not cancel it for the others

    async def _renew(self) -> T:
        value = await self._fetch()
        self._value, self._at = value, time.monotonic()
        return value

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # everybody who waits gets it


@dataclass(frozen=True, slots=True)
class SignedInThere:
    """The claims of a person whom the provider has signed in, and the id of its session or ""."""

    claims: Mapping[str, Any]
    sid: str


class Provider:
    """One provider. For the event loop's thread only.

    Every method raises SignInUnreachable while the provider does not answer in time, and SignInInvalid when it sends
    something that cannot be trusted.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._under_way = 0
        self._metadata: _Kept[Metadata] = _Kept(self._fetch_metadata)
        self._keys: _Kept[KeySet] = _Kept(self._fetch_keys)

    async def metadata(self) -> Metadata:
        """Return the discovery document."""
        return await self._metadata.get()

    async def address_for(self, attempt: Attempt, redirect_uri: str) -> str:
        """Return the address at the provider where a person signs in."""
        metadata = await self.metadata()
        client = self._client(metadata, redirect_uri)
        address, _ = client.create_authorization_url(
            metadata.authorization, state=attempt.state, code_verifier=attempt.verifier, nonce=attempt.nonce
        )
        return str(address)

    async def end_session_address(self, back: str) -> str:
        """Return the address where a person signs out of the provider, and then returns to `back`; "" for none."""
        metadata = await self.metadata()
        params = {"client_id": self._settings.oidc_client_id, "post_logout_redirect_uri": back}
        return str(add_params_to_uri(metadata.end_session, params.items())) if metadata.end_session else ""

    async def sign_in(self, attempt: Attempt, code: str, redirect_uri: str) -> SignedInThere:
        """Exchange a code for the claims of its person. Raises SignInRefused, SignInClocks and Unavailable too."""
        if self._under_way >= MOST_AT_ONCE:
            raise Unavailable
        self._under_way += 1
        try:
            return await self._sign_in(attempt, code, redirect_uri)
        finally:
            self._under_way -= 1

    async def _sign_in(self, attempt: Attempt, code: str, redirect_uri: str) -> SignedInThere:
        metadata = await self.metadata()
        token = await self._exchange(metadata, attempt, code, redirect_uri)
        id_token, access_token = token.get("id_token"), token.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise SignInInvalid("The provider sent no tokens.")
        found = await self._with_keys(
            lambda keys: tokens.id_claims(
                id_token,
                keys,
                metadata,
                client_id=self._settings.oidc_client_id,
                nonce=attempt.nonce,
                access_token=access_token,
                skew=self._settings.oidc_clock_skew_seconds,
            )
        )
        sid = found.get("sid")
        if metadata.userinfo and claims_of.lacks(found, self._settings):
            found = {**await self._userinfo(metadata, access_token, found), **found}
        return SignedInThere(found, sid if isinstance(sid, str) else "")

    async def ended_session(self, logout_token: str) -> tokens.Ended:
        """Return the session that a logout token ends. Raises SignInClocks too."""
        metadata = await self.metadata()
        return await self._with_keys(
            lambda keys: tokens.ended_session(
                logout_token,
                keys,
                metadata,
                client_id=self._settings.oidc_client_id,
                skew=self._settings.oidc_clock_skew_seconds,
            )
        )

    async def _with_keys(self, check: Callable[[KeySet], T]) -> T:
        """Check a token; the provider may have got new keys since they were fetched."""
        try:
            return check(await self._keys.get())
        except tokens.UnknownKey:
            pass
        try:
            return check(await self._keys.get(within_seconds=PAUSE_SECONDS))
        except tokens.UnknownKey as error:
            raise SignInInvalid(f"The signature is not the provider's: {error}") from None

    async def _exchange(self, metadata: Metadata, attempt: Attempt, code: str, redirect_uri: str) -> Mapping[str, Any]:
        try:
            async with (
                asyncio.timeout(self._settings.oidc_seconds),
                self._client(metadata, redirect_uri) as client,
            ):
                token: Mapping[str, Any] = await client.fetch_token(
                    metadata.token, grant_type="authorization_code", code=code, code_verifier=attempt.verifier
                )
        except OAuthError as error:
            log.warning("the provider refused a code", extra={"error": str(error.error)[:100]})
            # `invalid_grant`: it was used already, or is too old. All others are the fault of the settings.
            raise SignInInvalid("The code is not valid.") if error.error == "invalid_grant" else SignInRefused from None
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            raise _unreachable(metadata.token, error) from None
        except ValueError:
            raise SignInInvalid("The token endpoint sent no JSON object.") from None
        return token

    async def _userinfo(self, metadata: Metadata, access_token: str, found: Mapping[str, Any]) -> Mapping[str, Any]:
        document = await self._json(metadata.userinfo, authorization=f"Bearer {access_token}")
        if not isinstance(document, Mapping) or document.get("sub") != found["sub"]:
            raise SignInInvalid("The userinfo endpoint tells of another person.")
        return document

    async def _fetch_metadata(self) -> Metadata:
        document = await self._json(address_of(self._settings.oidc_issuer))
        try:
            return metadata_of(document, self._settings.oidc_issuer)
        except BadMetadata as error:
            log.warning("company sign-in does not work", extra={"reason": str(error)})
            raise SignInInvalid(str(error)) from None

    async def _fetch_keys(self) -> KeySet:
        return tokens.keys_in(await self._json((await self.metadata()).keys))

    async def _json(self, address: str, **headers: str) -> object:
        seconds = self._settings.oidc_seconds
        try:
            async with (
                asyncio.timeout(seconds),  # httpx2's own limits count from byte to byte
                httpx2.AsyncClient(verify=_trusted(), timeout=seconds, headers=headers) as client,
            ):
                answer = await client.get(address)
                answer.raise_for_status()
                return answer.json()
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            raise _unreachable(address, error) from None
        except ValueError:
            raise SignInInvalid(f"{address} is no JSON.") from None

    def _client(self, metadata: Metadata, redirect_uri: str) -> Any:
        """Return Authlib's client for one sign-in: it remembers the person's tokens."""
        return AsyncOAuth2Client(
            self._settings.oidc_client_id,
            self._settings.oidc_client_secret,
            token_endpoint_auth_method=metadata.auth_method,
            scope=self._settings.oidc_scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=self._settings.oidc_seconds,
            verify=_trusted(),
        )


@cache
def _trusted() -> ssl.SSLContext:
    """Return the certificates to trust, read once: SSL_CERT_FILE names others than the library's."""
    return httpx2.create_ssl_context()


def _unreachable(address: str, error: Exception) -> SignInUnreachable:
    status = error.response.status_code if isinstance(error, httpx2.HTTPStatusError) else 0
    log.warning(
        "the sign-in provider does not answer",
        extra={"address": address, "error": type(error).__name__, "status": status},
    )
    return SignInUnreachable()
