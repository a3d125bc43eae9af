"""Tests that a drain also hands over an answer whose claim was in progress."""

from __future__ import annotations

import threading
import time

from tests.stack import Stack, wait_until
from tests.workers.test_running import claimed
from workers.process.context import make_context
from workers.process.drain import Drain
from workers.process.lease import LeaseThread
from workers.process.running import Interruption


def test_drain_hands_over_a_claim_in_progress(stack: Stack) -> None:
    stack.configure(grace_seconds=0.1)
    context = make_context(stack.settings)
    context.loop.start()
    drain = Drain(context, LeaseThread(context, on_request=lambda: None))
    drain.start()
    try:
        with context.running.slot("demo", timeout_seconds=1):
            drain.begin()
            time.sleep(0.3)
            with context.running.register(claimed()) as answer:
                wait_until(lambda: answer.interruption is not None, seconds=10)
                assert answer.interruption is Interruption.DRAIN
        wait_until(lambda: "drain" not in {thread.name for thread in threading.enumerate()}, seconds=10)
    finally:
        context.loop.close()
        context.engine.dispose()
