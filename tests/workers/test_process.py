"""The worker's composition root: what a drain does with an answer whose claim was under way."""

from __future__ import annotations

import threading
import time

from tests.patience import patient
from tests.stack import Stack, wait_until
from tests.workers.test_running import claimed
from workers.process.running import Interruption
from workers.worker import Process


def test_what_was_being_claimed_at_the_end_of_the_grace_time_is_handed_over_too(stack: Stack) -> None:
    stack.configure(grace_seconds=0.1)
    process = Process(stack.settings, answer=lambda *_: None)
    process.loop.start()
    drain = threading.Thread(target=process._hand_over, daemon=True)
    drain.start()
    try:
        with process.running.slot(timeout_seconds=1):
            process.drain()
            time.sleep(0.3)
            with process.running.answering(claimed()) as answer:
                wait_until(lambda: answer.interruption is Interruption.DRAIN, seconds=10)
        drain.join(timeout=patient(10))
        assert not drain.is_alive(), "with the last slot the drain is over"
    finally:
        process._dispatcher.close()
        process.loop.close()
        process.engine.dispose()
