"""`doctor`'s check of company sign-in: its settings, the provider's discovery document, its clock, its issuer."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from sqlalchemy.exc import SQLAlchemyError

from deploy.cli.findings import Finding, Findings, Level
from shared.errors import SettingsError, Unavailable
from shared.people import identities
from shared.postgres.database import make_plain_engine
from shared.settings import Settings
from web.openid.metadata import BadMetadata, address_of, metadata_of


def company_sign_in(settings: Settings) -> Findings:
    """Check what a sign-in needs of the provider. It signs nobody in, so it does not try the client's secret."""
    if not settings.has_openid:
        return
    try:
        settings.need_openid()
    except SettingsError as error:
        yield Finding(Level.WRONG, f"company sign-in: {error}", "docs/operations/people.md, Company sign-in")
        return
    address = address_of(settings.oidc_issuer)
    try:
        with urllib.request.urlopen(address, timeout=settings.oidc_seconds) as answer:  # noqa: S310 - a checked setting
            document, date = json.load(answer), answer.headers.get("date", "")
        metadata_of(document, settings.oidc_issuer)
    except BadMetadata as error:
        yield Finding(Level.WRONG, f"company sign-in: {error}", "correct NARU_OIDC_ISSUER, or the provider")
    except (OSError, ValueError) as error:
        what = f"company sign-in: {address} cannot be read ({getattr(error, 'reason', error)})"
        yield Finding(Level.WRONG, what, "check NARU_OIDC_ISSUER, the network and the proxy")
    else:
        where = f"https://{settings.domain}" if settings.domain else "the page's address"
        yield Finding(Level.GOOD, f"company sign-in: {settings.oidc_issuer}; register {where}/openid/callback there")
        yield from _clock(date, settings.oidc_clock_skew_seconds)
    yield from _other_issuers(settings)


def _clock(date: str, skew: int) -> Findings:
    try:
        apart = (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return
    if abs(apart) > skew:
        to_do = "run NTP on both; no token is accepted beyond NARU_OIDC_CLOCK_SKEW_SECONDS"
        yield Finding(Level.WRONG, f"clock: this machine and the sign-in provider are {abs(apart):.0f} s apart", to_do)


def _other_issuers(settings: Settings) -> Findings:
    """Name the accounts of an earlier issuer, whose people cannot sign in."""
    try:
        known = identities.issuers(make_plain_engine(settings.database_url))
    except (Unavailable, SQLAlchemyError):
        return  # `postgres` or `tables` has reported it
    for issuer, number in known.items():
        if issuer != settings.oidc_issuer:
            what = f"company sign-in: {number} accounts belong to {issuer}, not to NARU_OIDC_ISSUER"
            yield Finding(Level.HINT, what, f"if only its address has changed: ./naru people issuer {issuer}")
