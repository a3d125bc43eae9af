"""An answer that Postgres refuses to store."""

from __future__ import annotations

import json

from sqlalchemy import Engine, text

from shared.errors import INTERNAL
from shared.postgres.database import transaction
from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.stack import Stack, wait_until

ANSWER = "[[sim: tokens=5 first=0.05]]"
REFUSE = """
CREATE FUNCTION refuse_success() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused by the test'; END $$;
CREATE TRIGGER refuse_success BEFORE UPDATE ON chat_request
   FOR EACH ROW WHEN (NEW.status = 'succeeded') EXECUTE FUNCTION refuse_success();
"""


def test_refused_answer_fails_with_its_text_and_is_reported_so(stack: Stack, engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text(REFUSE))
    stack.start_simulator()
    worker = stack.start_worker()
    with Person(stack, engine) as alice:
        request = alice.ask(ANSWER)
        row = alice.wait_end(request)
        assert (row.status, row.error_code) == (Status.FAILED, INTERNAL)
        assert alice.answers(request) == [full_text(ANSWER)]
    wait_until(lambda: "attempt ended" in worker.log_text(), what="the attempt is reported")
    (reported,) = (json.loads(line) for line in worker.log_text().splitlines() if "attempt ended" in line)
    assert (reported["outcome"], reported["error_code"]) == ("failed", INTERNAL)
    assert "input_tokens" not in reported, "usage that was not stored"
