"""Findings of `./naru doctor` about company sign-in, with a real provider."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from deploy.cli.company import company_sign_in
from deploy.cli.findings import Level
from shared.people import identities
from shared.people.identities import Claimed
from shared.settings import Settings
from tests.openid_server import CLIENT_ID, SECRET
from tests.stack import Stack
from tests.web.company import Company, start_company


@pytest.fixture
def company(stack: Stack) -> Company:
    """Start the provider."""
    return start_company(stack)


@pytest.fixture
def wanted(settings: Settings, company: Company) -> Settings:
    """Settings for the provider."""
    client: dict[str, Any] = {"oidc_client_id": CLIENT_ID, "oidc_client_secret": SECRET, "oidc_allowed_groups": "*"}
    return replace(settings, auth="oidc", oidc_issuer=company.issuer, domain="chat.example.org", **client)


def test_doctor_names_the_address_to_register(settings: Settings, wanted: Settings) -> None:
    assert list(company_sign_in(settings)) == []
    (found,) = company_sign_in(wanted)
    assert (found.level, "https://chat.example.org/openid/callback" in found.what) == (Level.GOOD, True)


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"issuer": "https://moved.example"}, "names the issuer https://moved.example"),
        ({"code_challenge_methods_supported": ["plain"]}, "does not support PKCE"),
        ({"token_endpoint": None}, "no usable token_endpoint"),
        ({"jwks_uri": "ftp://keys.example"}, "no usable jwks_uri"),
        ({"id_token_signing_alg_values_supported": ["none", "HS256"]}, "none of RS256"),
        ({"token_endpoint_auth_methods_supported": "private_key_jwt"}, "none of client_secret_basic"),
    ],
)
def test_doctor_names_what_a_document_lacks(
    company: Company, wanted: Settings, metadata: dict[str, object], complaint: str
) -> None:
    company.behave(metadata=metadata)
    (found,) = company_sign_in(wanted)
    assert found.level is Level.WRONG
    assert complaint in found.what


def test_doctor_names_a_provider_that_is_away(company: Company, wanted: Settings) -> None:
    company.behave(fails=["/.well-known/openid-configuration"])
    assert [each.level for each in company_sign_in(wanted)] == [Level.WRONG]
    nowhere = replace(wanted, oidc_issuer="http://127.0.0.1:9")
    (found,) = company_sign_in(nowhere)
    assert "cannot be read" in found.what
    (found,) = company_sign_in(replace(wanted, oidc_client_id=""))
    assert "NARU_OIDC_CLIENT_ID is not set" in found.what


def test_doctor_names_accounts_of_an_earlier_issuer(wanted: Settings, engine: Engine) -> None:
    identities.enter(engine, Claimed(issuer="https://old.example", subject="1"), {})
    *_, found = company_sign_in(wanted)
    assert "1 accounts belong to https://old.example" in found.what
    assert "./naru people issuer https://old.example" in found.to_do
