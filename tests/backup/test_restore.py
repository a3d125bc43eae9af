"""Restoring: the data is back and counted, each failure leaves it as it was, and there is a way back."""

from __future__ import annotations

import dataclasses
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from deploy.backup import swap
from deploy.backup.key import Key
from deploy.backup.manifest import Manifest
from deploy.backup.problem import BackupProblem
from deploy.backup.restore import forget, go_back
from shared.tables import Status
from tests.backup.yard import Yard, is_reached
from tests.stack import Stack, wait_until


def test_restore_recovers_rows_and_keeps_the_old_database(yard: Yard) -> None:
    made = yard.take()
    yard.execute("DROP TABLE request_attempt; DELETE FROM chat_request; TRUNCATE conversation CASCADE")
    yard.execute("INSERT INTO conversation (id, owner_id, title) VALUES (gen_random_uuid(), 'bob', 'later')")
    kept = yard.restore(made)
    assert yard.counts() == made.tables
    assert yard.databases() == {kept}
    assert yard.rows("SELECT owner_id FROM conversation", database=kept) == [("bob",)]

    assert go_back(yard.server, "")[0] == kept
    assert yard.rows("SELECT owner_id FROM conversation") == [("bob",)]
    (undone,) = yard.databases()
    assert go_back(yard.server, undone)[0] == undone, "and forth again"
    assert yard.counts() == made.tables

    (last,) = yard.databases()
    for name in ("postgres", yard.server.database):
        with pytest.raises(BackupProblem, match="Nothing was dropped"):
            forget(yard.server, name)
    forget(yard.server, last)
    assert yard.databases() == set()


def test_missing_database_is_created_again(yard: Yard) -> None:
    made = yard.take()
    yard.execute(f"DROP DATABASE {yard.server.database} WITH (FORCE)", database="postgres")
    assert not is_reached(yard.url)
    assert yard.restore(made) == ""
    assert yard.counts() == made.tables


def test_restore_disconnects_clients(yard: Yard) -> None:
    made = yard.take()
    yard.execute("DELETE FROM message")
    ended, stop = [], threading.Event()

    def come_back() -> None:
        while not stop.is_set():
            try:
                with psycopg2.connect(yard.url) as connection, connection.cursor() as cursor:
                    while not stop.is_set():
                        cursor.execute("SELECT 1")
            except psycopg2.Error:
                ended.append(True)

    eager = [threading.Thread(target=come_back) for _ in range(4)]
    for thread in eager:
        thread.start()
    try:
        yard.restore(made)
    finally:
        stop.set()
        for thread in eager:
            thread.join()
    assert len(ended) >= 4
    assert yard.counts() == made.tables


def test_restore_keeps_database_settings_and_grants(yard: Yard) -> None:
    name = yard.server.database
    yard.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader")
    yard.execute(
        f"ALTER DATABASE {name} SET work_mem TO '7MB'; ALTER DATABASE {name} SET search_path TO public, pg_temp"
    )
    yard.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO reader")
    yard.execute("GRANT SELECT ON message TO reader")
    try:
        kept = yard.restore(yard.take())
        assert yard.rows("SHOW work_mem") == [("7MB",)]
        assert yard.rows("SHOW search_path") == [("public, pg_temp",)]
        assert yard.rows(f"SELECT has_database_privilege('reader', '{name}', 'CONNECT')") == [(True,)]
        assert yard.rows(f"SELECT datacl::text LIKE '%=Tc/%' FROM pg_database WHERE datname = '{name}'") == [(False,)]
        assert yard.rows("SELECT has_table_privilege('reader', 'message', 'SELECT')") == [(True,)]
        forget(yard.server, kept)
    finally:
        yard.execute(f"DROP OWNED BY reader; REVOKE ALL ON DATABASE {name} FROM reader; DROP ROLE reader")


def test_restore_names_no_grants_when_a_role_is_missing(yard: Yard) -> None:
    yard.execute("DROP ROLE IF EXISTS gone; CREATE ROLE gone; GRANT SELECT ON message TO gone")
    made = yard.take()
    yard.execute("DROP OWNED BY gone; DROP ROLE gone")
    with pytest.raises(BackupProblem, match="--no-grants"):
        yard.restore(made)
    assert yard.databases() == set()
    yard.restore(made, grants=False)
    assert yard.counts() == made.tables


REQUESTS = """
    INSERT INTO chat_request (id, owner_id, conversation_id, user_message_id, idempotency_key, model, status,
                              attempt, worker_id, deadline_at, stop_requested_at)
    SELECT gen_random_uuid(), 'alice', m.conversation_id, m.id, m.id::text, 'demo/simulator',
           CASE WHEN n = 1 THEN 'queued' ELSE 'running' END, n - 1,
           CASE WHEN n > 1 THEN gen_random_uuid() END, now() + '1 h', CASE WHEN n = 3 THEN now() END
      FROM (SELECT *, row_number() OVER () AS n FROM message LIMIT 3) m
"""
ATTEMPTS = """
    INSERT INTO request_attempt (request_id, attempt, worker_id, checkpoint)
    SELECT id, attempt, worker_id, 'as far as it got' FROM chat_request WHERE status = 'running'
"""


def test_restore_ends_requests_that_ran_in_the_backup(yard: Yard) -> None:
    yard.execute(REQUESTS)
    yard.execute(ATTEMPTS)
    made = yard.take()
    yard.restore(made)
    ends = yard.rows(
        "SELECT r.status, r.error_code, m.content FROM chat_request r JOIN message m ON m.request_id = r.id "
        "ORDER BY r.attempt"
    )
    assert ends == [
        (Status.FAILED, "restored", ""),
        (Status.FAILED, "restored", "as far as it got"),
        (Status.CANCELLED, None, "as far as it got"),
    ]
    assert yard.rows("SELECT count(*) FROM request_attempt WHERE ended_at IS NULL") == [(0,)]
    assert any("3 answers were in progress" in line for line in yard.said)


def cut(yard: Yard, made: Manifest) -> Manifest:
    """The file loses its last bytes."""
    path = yard.shelf.path(made)
    path.write_bytes(path.read_bytes()[:-9])
    return made


def flip(yard: Yard, made: Manifest) -> Manifest:
    """One bit of the file is another."""
    path = yard.shelf.path(made)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return made


def remove(yard: Yard, made: Manifest) -> Manifest:
    """The file is gone."""
    yard.shelf.path(made).unlink()
    return made


def lie(_: Yard, made: Manifest) -> Manifest:
    """The manifest is changed by somebody without the key."""
    return dataclasses.replace(made, tables={**made.tables, "message": 1})


def newer(yard: Yard, made: Manifest) -> Manifest:
    """It comes from a later version of Naru."""
    return dataclasses.replace(made, schema="9999").sealed(yard.key)


def newer_server(yard: Yard, made: Manifest) -> Manifest:
    """It comes from a later PostgreSQL."""
    return dataclasses.replace(made, postgres="99.1").sealed(yard.key)


def miscounted(yard: Yard, made: Manifest) -> Manifest:
    """What comes back is not what was counted."""
    return dataclasses.replace(made, tables={**made.tables, "message": 21}).sealed(yard.key)


FAULTS: list[tuple[Callable[[Yard, Manifest], Manifest], str]] = [
    (cut, "is truncated"),
    (flip, "was changed after"),
    (remove, "is missing"),
    (lie, "was changed after"),
    (newer, "newer Naru"),
    (newer_server, "server is older"),
    (miscounted, "has 20 rows, but the manifest says 21"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_a_backup_that_cannot_be_trusted_changes_nothing(
    yard: Yard, fault: Callable[[Yard, Manifest], Manifest], words: str
) -> None:
    made = yard.take()
    yard.execute("DELETE FROM message WHERE id IN (SELECT id FROM message LIMIT 7)")
    before = yard.counts()
    with pytest.raises(BackupProblem, match=words):
        yard.restore(fault(yard, made))
    assert yard.counts() == before
    assert yard.databases() == set()


def test_the_wrong_key_changes_nothing(yard: Yard) -> None:
    made = yard.take()
    before = yard.counts()
    with pytest.raises(BackupProblem, match="another key"):
        yard.restore(made, key=Key("1" * 64))
    assert (yard.counts(), yard.databases()) == (before, set())


def test_two_restores_at_once_are_refused(yard: Yard) -> None:
    made = yard.take()
    with swap.alone(yard.server), pytest.raises(BackupProblem, match="another restore"):
        yard.restore(made)
    assert yard.databases() == set()


def test_a_full_disk_of_the_server_changes_nothing(own_stack: Stack, tmp_path: Path) -> None:
    yard = Yard(own_stack.database_url, tmp_path)
    yard.fill(rows=9000, size=1920)  # 18 MB in one table; a segment of the WAL has 16 MB
    made = yard.take()
    yard.execute("TRUNCATE conversation CASCADE")
    limit = 16 << 20
    resource.prlimit(own_stack.servers.postgres.pid, resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(BackupProblem, match=r"pg_restore: .*(File too large|No space)"):
        yard.restore(made)
    assert yard.counts()["message"] == 0
    assert yard.databases() == set()


def test_interrupted_restore_keeps_the_old_data(own_stack: Stack, tmp_path: Path) -> None:
    servers, yard = own_stack.servers, Yard(own_stack.database_url, tmp_path)
    yard.fill(rows=9000, size=1920)
    made = yard.take()
    yard.execute("DELETE FROM message WHERE id IN (SELECT id FROM message LIMIT 7)")
    before = yard.counts()

    def kill() -> None:
        wait_until(lambda: any("_restoring_" in name for name in yard.databases()), seconds=20)
        servers.postgres.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(BackupProblem):
        yard.restore(made)
    thread.join()
    servers.start_postgres()
    assert yard.counts() == before
    assert len(yard.databases()) == 1, "what was loaded so far is still there"
    kept = yard.restore(made)
    assert any("removing" in line for line in yard.said)
    assert yard.databases() == {kept}
    assert yard.counts() == made.tables
