"""Fixtures of the tests of accounts in Chromium: one stack per module, and no account before each test."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from shared.postgres.database import make_engine, transaction
from tests.stack import Stack


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack."""
    return module_stack


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database."""
    return make_engine(stack.settings, name="test")


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> None:
    """Begin without accounts, attempts, chats and banner."""
    tables = "person, identity, session, link, sign_in_allowance, guest_link, conversation, banner"
    with transaction(engine) as connection:
        connection.execute(text(f"TRUNCATE {tables} CASCADE"))
