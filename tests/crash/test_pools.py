"""A provider with several addresses, and a real worker: one that is away costs no answer and no try."""

from __future__ import annotations

import socket

import pytest
from sqlalchemy import Engine

from shared.tables import Status
from tests.crash.person import Person
from tests.stack import Stack

SHORT = "[[sim: tokens=5 pace=0 first=0]] Tell me."


@pytest.mark.timeout(240)
def test_address_that_is_away_costs_no_try(stack: Stack, engine: Engine) -> None:
    simulator = stack.start_simulator()
    path, key = stack.folder / "providers.toml", stack.folder / "a.key"
    key.write_text("sk-a\n")
    key.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{free.getsockname()[1]}"
    # Without models: the list comes from the second address.
    path.write_text(
        f'[providers.one]\nkind = "openai"\naddresses = ["{away}", "{simulator.url}"]\nkey_file = "a.key"\n'
    )
    stack.configure(providers_file=path, simulator_url="")
    stack.start_worker()
    with Person(stack, engine) as alice:
        asked = [alice.ask(SHORT, model="one/simulator") for _ in range(4)]
        rows = [alice.wait_end(each) for each in asked]
    assert {(row.status, row.attempt, row.tries) for row in rows} == {(Status.SUCCEEDED, 1, 0)}
