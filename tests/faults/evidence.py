"""The evidence of a run: the rows, the simulator's log, and the anomalies that database triggers noted.

The triggers see every write, whoever makes it, and record those that the product must never make. The suite reads rows
directly from the server, without a proxy. `checker.py` judges the evidence.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras

WITNESS = """
CREATE TABLE fault_anomaly (
    at timestamptz NOT NULL DEFAULT clock_timestamp(), what text NOT NULL, request_id uuid, detail text
);
CREATE FUNCTION fault_see_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status IN ('succeeded', 'failed', 'cancelled')
        AND (NEW.status, NEW.attempt) <> (OLD.status, OLD.attempt) THEN
        INSERT INTO fault_anomaly (what, request_id, detail)
        VALUES ('an ended request changed', OLD.id, OLD.status || ' -> ' || NEW.status);
    END IF;
    IF NEW.attempt < OLD.attempt THEN
        INSERT INTO fault_anomaly (what, request_id, detail)
        VALUES ('the attempt went back', OLD.id, OLD.attempt || ' -> ' || NEW.attempt);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fault_see_request AFTER UPDATE ON chat_request FOR EACH ROW EXECUTE FUNCTION fault_see_request();
CREATE FUNCTION fault_see_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fault_anomaly (what, request_id, detail) VALUES ('a message changed', OLD.request_id, TG_OP);
    RETURN NULL;
END $$;
CREATE TRIGGER fault_see_message AFTER UPDATE OF content OR DELETE ON message
    FOR EACH ROW EXECUTE FUNCTION fault_see_message();
CREATE FUNCTION fault_see_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fault_anomaly (what, request_id, detail)
    VALUES ('a closed attempt was written', OLD.request_id, OLD.attempt::text);
    RETURN NULL;
END $$;
CREATE TRIGGER fault_see_attempt AFTER UPDATE ON request_attempt
    FOR EACH ROW
    -- The end of a request clears the checkpoints of earlier attempts.
    WHEN (OLD.ended_at IS NOT NULL
          AND (NEW.checkpoint <> '' OR to_jsonb(NEW) - 'checkpoint' <> to_jsonb(OLD) - 'checkpoint'))
    EXECUTE FUNCTION fault_see_attempt();
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One row of `request_attempt`. Times are seconds since the epoch."""

    number: int
    worker: str
    began: float
    ended: float | None
    outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request with its answers and attempts."""

    request: str
    owner: str
    key: str
    question: str
    status: str
    attempt: int = 0
    losses: int = 0
    code: str | None = None
    created: float = 0.0
    ended: float | None = None
    deadline: float = 0.0
    stopped: float | None = None
    answers: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    @property
    def is_ended(self) -> bool:
        """Whether the request has ended."""
        return self.status in {"succeeded", "failed", "cancelled"}


@dataclass(slots=True, kw_only=True)
class Call:
    """One provider call, from the simulator's log."""

    number: int
    request: str
    began: float
    ended: float | None = None
    sent: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An anomaly that a trigger noted."""

    what: str
    request: str


@dataclass(slots=True)
class Evidence:
    """Rows, calls and anomalies. `at` is the time at which the rows were read."""

    at: float
    rows: list[Row] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)


def install_witness(url: str) -> None:
    """Create the triggers in a migrated database."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(WITNESS)
    connection.close()


def rows_of(url: str, *, requests: Collection[str], keys: Collection[str]) -> tuple[float, list[Row], list[Anomaly]]:
    """Return the time, the rows of these requests and keys, and the anomalies of those rows."""
    connection = psycopg2.connect(url)
    try:
        made: Any = psycopg2.extras.DictCursor
        with connection, connection.cursor(cursor_factory=made) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            at = float(cursor.fetchall()[0][0])
            cursor.execute(_ROWS, {"requests": list(requests), "keys": list(keys)})
            rows = [_row(each) for each in cursor.fetchall()]
            cursor.execute(
                "SELECT what, request_id::text FROM fault_anomaly WHERE request_id = ANY(%s::uuid[])",
                ([row.request for row in rows],),
            )
            anomalies = [Anomaly(*each) for each in cursor.fetchall()]
    finally:
        connection.close()
    return at, rows, anomalies


_ROWS = """
SELECT r.id::text AS request, r.owner_id AS owner, r.idempotency_key AS key, q.content AS question, r.status, r.attempt,
       r.losses, r.error_code AS code, extract(epoch FROM r.created_at)::float8 AS created,
       extract(epoch FROM r.ended_at)::float8 AS ended, extract(epoch FROM r.deadline_at)::float8 AS deadline,
       extract(epoch FROM r.stop_requested_at)::float8 AS stopped,
       ARRAY(SELECT content FROM message m WHERE m.request_id = r.id) AS answers,
       (SELECT coalesce(json_agg(json_build_object(
            'number', a.attempt, 'worker', a.worker_id, 'began', extract(epoch FROM a.started_at),
            'ended', extract(epoch FROM a.ended_at), 'outcome', a.outcome) ORDER BY a.attempt), '[]'::json)
        FROM request_attempt a WHERE a.request_id = r.id) AS attempts
FROM chat_request r JOIN message q ON q.id = r.user_message_id
WHERE r.id = ANY(%(requests)s::uuid[]) OR r.idempotency_key = ANY(%(keys)s)
"""


def _row(found: Any) -> Row:
    values = dict(found)
    values["answers"] = tuple(values["answers"])
    values["attempts"] = tuple(Attempt(**each) for each in values["attempts"])
    return Row(**values)


class Calls:
    """The simulator's log, read incrementally."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self._known: dict[int, Call] = {}

    def look(self) -> dict[int, Call]:
        """Return all calls so far, by number."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offset += len(whole)
            for line in whole.splitlines():
                self._note(json.loads(line))
        return self._known

    def of(self, requests: Iterable[str]) -> list[Call]:
        """Return the calls of these requests."""
        wanted = set(requests)
        return [call for call in self.look().values() if call.request in wanted]

    def _note(self, line: dict[str, Any]) -> None:
        call = self._known.get(line["call"])
        if call is None:
            call = self._known[line["call"]] = Call(number=line["call"], request=line["trace"], began=line["at"])
        call.sent = max(call.sent, int(line.get("sent", 0)))
        if line["event"] in {"end", "closed", "refused"}:
            call.ended = line["at"]
            call.whole = line["event"] == "end"
