"""Fixtures of the tests of accounts: a web process that needs them, and the first person, signed in."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from shared.postgres.database import make_engine, transaction
from tests.stack import Process, Stack
from tests.web.visitors import FAILURES, Visitor


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: each test has its own accounts."""
    return module_stack


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database."""
    return make_engine(stack.settings, name="test")


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start a web process that needs accounts."""
    return stack.start_web(auth="local", sign_in_failures=FAILURES)


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> None:
    """Begin without accounts and without attempts."""
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE person, session, link, sign_in_allowance, conversation, guest_link CASCADE"))


@pytest.fixture
def ada(web: Process, engine: Engine) -> Visitor:
    """The first person, signed in; an administrator."""
    visitor = Visitor(web.url)
    assert visitor.ask("/sign-in").status == 200
    assert visitor.sign_up(engine).status == 303
    return visitor
