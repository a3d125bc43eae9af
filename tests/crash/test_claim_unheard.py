"""A claim that committed, but whose reply was lost."""

from __future__ import annotations

from sqlalchemy import Engine, text

from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.stack import Stack

SHORT = "[[sim: tokens=10 pace=100]]"


def test_request_whose_claim_got_no_reply_is_answered(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    stack.start_worker()
    with Person(stack, engine) as alice:
        request = alice.ask(SHORT, hint=False)
        with engine.begin() as connection:  # the state after a claim whose reply was lost
            connection.execute(
                text(
                    "UPDATE chat_request SET status = 'running', attempt = 1, started_at = clock_timestamp(),"
                    " worker_id = (SELECT id FROM worker WHERE lost_at IS NULL) WHERE id = :id AND status = 'queued'"
                ),
                {"id": request},
            )
        row = alice.wait_end(request, seconds=15)
        assert (row.status, row.attempt, row.losses) == (Status.SUCCEEDED, 2, 0)
        assert alice.answers(request) == [full_text(SHORT)]
