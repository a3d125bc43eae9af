"""Tests of taking turns: whose page runs next."""

from __future__ import annotations

import asyncio
from functools import partial

from web.asgi.turns import NEWCOMER_RUNS, Turns

LONG_SECONDS = 60.0


def order_of(turns: Turns, *owners: str) -> list[str]:
    """Ask for a turn for each owner while another turn is held; return the order in which they are granted."""
    got: list[str] = []
    first = turns.ask("first", granted=lambda: None)
    asked = {owner: turns.ask(owner, granted=partial(got.append, owner)) for owner in owners}
    first.end()
    while len(got) < len(owners):
        asked[got[-1]].end()
    return got


def test_turns_go_to_the_least_served_first() -> None:
    async def run() -> None:
        turns = Turns(at_once=1, seconds=LONG_SECONDS, most_overdue=0)
        for _ in range(30):
            turns.ask("busy", granted=lambda: None).end()
        turns.ask("calm", granted=lambda: None).end()
        assert order_of(turns, "busy", "calm") == ["calm", "busy"]

    asyncio.run(run())


def test_newcomers_wait_behind_occasional_clickers() -> None:
    async def run() -> None:
        turns = Turns(at_once=1, seconds=LONG_SECONDS, most_overdue=0)
        turns.ask("known", granted=lambda: None).end()
        # As if that had been some time ago.
        turns._counts["known"] = (NEWCOMER_RUNS / 2, turns._counts["known"][1])
        assert order_of(turns, "new", "known") == ["known", "new"]

    asyncio.run(run())


def test_newcomers_may_count_less() -> None:
    async def run() -> None:
        turns = Turns(at_once=1, seconds=LONG_SECONDS, most_overdue=0, newcomer_runs=1)
        turns.ask("again and again", granted=lambda: None).end()
        turns._counts["again and again"] = (NEWCOMER_RUNS / 2, turns._counts["again and again"][1])
        assert order_of(turns, "again and again", "new") == ["new", "again and again"]

    asyncio.run(run())


def test_turns_count_all_names_of_a_waiter() -> None:
    async def run() -> None:
        turns = Turns(at_once=1, seconds=LONG_SECONDS, most_overdue=0, newcomer_runs=1)
        for number in range(5):
            turns.ask(str(number), "from here", granted=lambda: None).end()
        got: list[str] = []
        first = turns.ask("first", granted=lambda: None)
        turns.ask("new here", "from here", granted=partial(got.append, "here"))
        turns.ask("new there", "from there", granted=partial(got.append, "there"))
        first.end()
        assert got == ["there"]

    asyncio.run(run())


def test_overdue_turn_ends_with_its_run() -> None:
    async def run() -> None:
        turns = Turns(at_once=1, seconds=0.05, most_overdue=1)
        over: set[str] = set()
        asked = {
            name: turns.ask(name, granted=lambda: None, is_over=partial(over.__contains__, name))
            for name in ("a", "b", "c", "d")
        }
        await asyncio.sleep(0.5)
        assert [name for name, turn in asked.items() if turn.was_granted] == ["a", "b"]
        over.update("ab")
        await asyncio.sleep(0.5)
        assert all(turn.was_granted for turn in asked.values())

    asyncio.run(run())


def test_overdue_turns_make_room_but_not_for_all() -> None:
    async def run() -> None:
        turns = Turns(at_once=1, seconds=0.05, most_overdue=2)
        asked = [turns.ask(str(number), granted=lambda: None) for number in range(5)]
        await asyncio.sleep(1)
        assert [turn.was_granted for turn in asked] == [True, True, True, False, False]
        asked[0].end()
        assert asked[3].was_granted

    asyncio.run(run())


def test_abandoned_turn_is_not_granted() -> None:
    async def run() -> None:
        turns = Turns(at_once=1, seconds=LONG_SECONDS, most_overdue=0)
        held, left, waits = (turns.ask(owner, granted=lambda: None) for owner in "abc")
        left.end()
        held.end()
        assert (left.was_granted, waits.was_granted) == (False, True)

    asyncio.run(run())
