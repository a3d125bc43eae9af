"""A guest is told that an administrator read the chats."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from streamlit.proto.WidgetStates_pb2 import WidgetState

from shared import audit
from shared.audit import Kind, readings
from shared.people import Owner
from shared.postgres.database import make_engine, transaction
from tests.stack import Process, Stack
from tests.web.clients import browser
from tests.web.socket import PageSocket


@pytest.fixture
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database."""
    return make_engine(stack.settings, name="test")


@pytest.fixture
def web(stack: Stack) -> Process:
    """A page for guests."""
    return stack.start_web()


def read_by_somebody(engine: Engine, owner: Owner) -> None:
    with audit.acting("terminal"), transaction(engine) as connection:
        audit.record(connection, Kind.CHATS_READ, subject=owner.key, reason="court <order>", conversations=1)


def test_guest_sees_and_confirms_a_reading(stack: Stack, web: Process, engine: Engine) -> None:
    guest, cookie = browser(stack)
    other, cookie_of_other = browser(stack)
    read_by_somebody(engine, guest)
    read_by_somebody(engine, other)
    with PageSocket(web.url, cookie) as page:
        page.run_at("")
        assert page.drew("An administrator read a chat of yours on")
        assert page.drew("court &lt;order&gt;")
        button = page.button("acknowledge")
        page.frames.clear()
        page.run_at("", WidgetState(id=button, trigger_value=True))
        assert not page.drew("An administrator read")
    with PageSocket(web.url, cookie) as again:
        assert not again.run_at("").drew("An administrator read")
    assert [each.is_new for each in readings.readings_of(engine, guest.key)] == [False]
    with PageSocket(web.url, cookie_of_other) as others:
        assert others.run_at("").drew("An administrator read"), "confirmed for the one, not for the other"


def test_nobody_confirms_for_another_guest(stack: Stack, web: Process, engine: Engine) -> None:
    guest, cookie = browser(stack)
    read_by_somebody(engine, guest)
    with PageSocket(web.url, cookie) as page:
        page.run_at("")
        message = WidgetState(id=page.button("acknowledge"), trigger_value=True)
        for stranger in (browser(stack)[1], ""):
            with PageSocket(web.url, stranger, session=page.session) as stolen:
                stolen.run_at("", message)
                assert not stolen.drew("An administrator read")
    assert [each.is_new for each in readings.readings_of(engine, guest.key)] == [True]
