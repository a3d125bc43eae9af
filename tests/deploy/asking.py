"""`python - NUMBER PAUSE PATIENCE < asking.py` in a container of the web image: asks, waits, prints how all ended.

Like the page's callback, it stores a question first and then sends the hint. It imports only what the web image holds.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

from sqlalchemy import Engine, text

from shared import lifecycle
from shared.lifecycle import Question
from shared.people import Owner
from shared.postgres.database import make_engine, transaction
from shared.queue import Dispatcher
from shared.settings import load_settings

ENDS = text(
    "SELECT r.status::text, count(m.id) FROM chat_request r LEFT JOIN message m ON m.request_id = r.id"
    " WHERE r.id::text = ANY(:ids) GROUP BY r.id, r.status"
)
OWNERS = 50


def main(number: int, pause_seconds: float, patience_seconds: float) -> None:
    """Ask `number` questions, one every `pause_seconds`; wait at most `patience_seconds` for the last answer."""
    settings = load_settings()
    engine = make_engine(settings, name="naru-asking")
    dispatcher = Dispatcher(settings)
    accepted: list[UUID] = []
    failures: list[str] = []

    def ask(turn: int) -> None:
        question = Question(
            owner=Owner("test", str(turn % OWNERS)),
            conversation_id=uuid4(),
            text=f"question {turn}",
            idempotency_key=str(uuid4()),
        )
        try:
            submitted = lifecycle.submit(
                engine,
                question,
                deadline_seconds=settings.deadline_seconds,
                max_characters=settings.max_question_characters,
            )
        except Exception as error:  # noqa: BLE001 - any error is counted
            failures.append(type(error).__name__)
            return
        accepted.append(submitted.request_id)
        dispatcher.send(submitted.lane)

    with ThreadPoolExecutor(4) as threads:
        for turn in range(number):
            threads.submit(ask, turn)
            time.sleep(pause_seconds)
    limit = time.monotonic() + patience_seconds
    while time.monotonic() < limit and any(status in {"queued", "running"} for status, _ in ends(engine, accepted)):
        time.sleep(0.5)
    found = ends(engine, accepted)
    result = {
        "asked": number,
        "accepted": len(accepted),
        "failures": failures,
        "answered": sum(each == ("succeeded", 1) for each in found),
        "otherwise": sorted(
            {f"{status}, {count} answers" for status, count in found if (status, count) != ("succeeded", 1)}
        ),
    }
    print(f"RESULT {json.dumps(result)}", flush=True)
    dispatcher.close()


def ends(engine: Engine, accepted: list[UUID]) -> list[tuple[str, int]]:
    """Return each request's status and number of answers."""
    with transaction(engine) as connection:
        rows = connection.execute(ENDS, {"ids": [str(each) for each in accepted]}).all()
    return [(str(status), int(count)) for status, count in rows]


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
