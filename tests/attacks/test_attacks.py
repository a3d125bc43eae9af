"""A short round of attacks. The bounds are wide: they only separate a responsive process from one that hangs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shared.postgres.database import make_engine
from tests.attacks.catalogue import ATTACKS
from tests.attacks.run import MOST_GROWTH_MB, MOST_LEFT_MB, Result, attack
from tests.patience import patient
from tests.stack import Process, Stack

#: Allows for other tests on the machine. Without the limits on sockets, `/healthz` did not answer for 45 s.
MOST_SECONDS = patient(7.5)
ANSWERED_AT_ONCE = ("healthz", "stop")


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Return the module's stack; all attacks share one web process."""
    return module_stack


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Iterator[Engine]:
    """Yield an engine for the honest person's rows."""
    made = make_engine(stack.settings, name="attacks")
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start the web process that is attacked."""
    return stack.start_web()


@pytest.mark.parametrize("name", ["burst", "flood-addresses", "unfinished", "come-and-go"])
def test_attack_leaves_the_page_answering(stack: Stack, web: Process, engine: Engine, name: str) -> None:
    one = next(each for each in ATTACKS if each.name == name)
    result = attack(stack, web, engine, one, seconds=4, rest=1, memory_seconds=patient(15))
    assert result.person_closed == [], "an honest page must not be disconnected"
    for what in ANSWERED_AT_ONCE:
        assert longest(result, what) < MOST_SECONDS, what
    assert result.memory["most"] - result.memory["before"] <= MOST_GROWTH_MB
    assert result.memory["after"] - result.memory["before"] <= MOST_LEFT_MB
    if one.answer:
        assert result.outcome.closed.get(one.answer), result.outcome
        assert result.metrics["sockets closed: flood"] > 0


def longest(result: Result, what: str) -> float:
    """Return the longest time that an action took during and after the attack."""
    return max(result.took[what]["during"] + result.took[what]["after"])
