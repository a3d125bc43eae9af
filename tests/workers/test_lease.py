"""The lease thread's ear: a notice is handed on at once, whenever it comes."""

from __future__ import annotations

import threading
import time
from uuid import UUID, uuid4

from sqlalchemy import text

from shared import notify
from shared.database import transaction
from tests.stack import Stack
from workers.process import Process


def test_a_stop_that_comes_with_a_rounds_own_reply_is_not_left_lying(stack: Stack) -> None:
    process = Process(stack.settings, answer=lambda *_: None)
    heard: list[UUID] = []
    process.running.stop = heard.append  # type: ignore[method-assign, assignment]
    request_id = uuid4()
    process.loop.start()
    process.publisher = process.loop.submit(process._make_publisher()).result(timeout=5)
    try:
        with process._lease._engine.connect() as connection:
            connection.execute(text(f"LISTEN {notify.STOP}"))
            with transaction(process.engine) as other:
                notify.send(other, notify.STOP, request_id, uuid4())
            time.sleep(0.1)
            connection.execute(text("SELECT 1"))
            began = time.monotonic()
            ear = threading.Thread(target=process._lease._listen, args=(connection,), kwargs={"until": began + 2})
            ear.start()
            while not heard and ear.is_alive():
                time.sleep(0.01)
            assert (heard, time.monotonic() - began < 1) == ([request_id], True)
            process._lease.wake()
            ear.join()
    finally:
        process.loop.submit(process._close_streams()).result(timeout=5)
        process.loop.close()
        process._dispatcher.close()
        process.engine.dispose()
