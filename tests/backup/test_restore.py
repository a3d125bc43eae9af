"""A restore brings the data back and counts it, changes nothing if it fails, and can be undone."""

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
from shared import audit
from shared.audit import Kind, marks
from shared.audit.events import Filter, newest
from shared.audit.verify import verify
from shared.postgres.database import make_plain_engine, transaction
from shared.tables import Status
from tests.backup.site import BackupSite, is_reached
from tests.stack import Stack, wait_until

SECRET = "a-key-of-at-least-32-bytes-for-the-tests"


def test_restore_recovers_rows_and_keeps_the_old_database(site: BackupSite) -> None:
    made = site.take()
    site.execute("DROP TABLE request_attempt; DELETE FROM chat_request; TRUNCATE conversation CASCADE")
    site.execute("INSERT INTO conversation (id, owner_id, title) VALUES (gen_random_uuid(), 'bob', 'later')")
    kept = site.restore(made)
    assert site.counts() == made.tables
    assert site.databases() == {kept}
    assert site.rows("SELECT owner_id FROM conversation", database=kept) == [("bob",)]

    assert go_back(site.server, "")[0] == kept
    assert site.rows("SELECT owner_id FROM conversation") == [("bob",)]
    (undone,) = site.databases()
    assert go_back(site.server, undone)[0] == undone, "and forward again"
    assert site.counts() == made.tables

    (last,) = site.databases()
    for name in ("postgres", site.server.database):
        with pytest.raises(BackupProblem, match="Nothing was dropped"):
            forget(site.server, name)
    forget(site.server, last)
    assert site.databases() == set()


def test_restore_heeds_a_database_named_by_an_option(site: BackupSite) -> None:
    made = site.take()
    site.url += f"?dbname={site.server.database}"
    for table in ("request_attempt", "chat_request", "message", "conversation"):
        site.execute(f"DELETE FROM {table}")
    kept = site.restore(made)
    assert site.databases() == {kept}
    assert site.counts() == made.tables
    assert site.rows("SELECT count(*) FROM conversation", database=kept) == [(0,)], "nothing was poured into it"


def test_missing_database_is_created_again(site: BackupSite) -> None:
    made = site.take()
    site.execute(f"DROP DATABASE {site.server.database} WITH (FORCE)", database="postgres")
    assert not is_reached(site.url)
    assert site.restore(made) == ""
    assert site.counts() == made.tables


def test_restore_disconnects_clients(site: BackupSite) -> None:
    made = site.take()
    site.execute("DELETE FROM message")
    ended, stop = [], threading.Event()

    def come_back() -> None:
        while not stop.is_set():
            try:
                with psycopg2.connect(site.url) as connection, connection.cursor() as cursor:
                    while not stop.is_set():
                        cursor.execute("SELECT 1")
            except psycopg2.Error:
                ended.append(True)

    eager = [threading.Thread(target=come_back) for _ in range(4)]
    for thread in eager:
        thread.start()
    try:
        site.restore(made)
    finally:
        stop.set()
        for thread in eager:
            thread.join()
    assert len(ended) >= 4
    assert site.counts() == made.tables


def test_restore_keeps_database_settings_and_grants(site: BackupSite) -> None:
    name = site.server.database
    site.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader")
    site.execute(
        f"ALTER DATABASE {name} SET work_mem TO '7MB'; ALTER DATABASE {name} SET search_path TO public, pg_temp"
    )
    site.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO reader")
    site.execute("GRANT SELECT ON message TO reader")
    try:
        kept = site.restore(site.take())
        assert site.rows("SHOW work_mem") == [("7MB",)]
        assert site.rows("SHOW search_path") == [("public, pg_temp",)]
        assert site.rows(f"SELECT has_database_privilege('reader', '{name}', 'CONNECT')") == [(True,)]
        assert site.rows(f"SELECT datacl::text LIKE '%=Tc/%' FROM pg_database WHERE datname = '{name}'") == [(False,)]
        assert site.rows("SELECT has_table_privilege('reader', 'message', 'SELECT')") == [(True,)]
        forget(site.server, kept)
    finally:
        site.execute(f"DROP OWNED BY reader; REVOKE ALL ON DATABASE {name} FROM reader; DROP ROLE reader")


def test_error_for_a_missing_role_names_the_no_grants_option(site: BackupSite) -> None:
    site.execute("DROP ROLE IF EXISTS gone; CREATE ROLE gone; GRANT SELECT ON message TO gone")
    made = site.take()
    site.execute("DROP OWNED BY gone; DROP ROLE gone")
    with pytest.raises(BackupProblem, match="--no-grants"):
        site.restore(made)
    assert site.databases() == set()
    site.restore(made, grants=False)
    assert site.counts() == made.tables


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


def test_restore_ends_requests_that_ran_in_the_backup(site: BackupSite) -> None:
    site.execute(REQUESTS)
    site.execute(ATTEMPTS)
    made = site.take()
    site.restore(made)
    ends = site.rows(
        "SELECT r.status, r.error_code, m.content FROM chat_request r JOIN message m ON m.request_id = r.id "
        "ORDER BY r.attempt"
    )
    assert ends == [
        (Status.FAILED, "restored", ""),
        (Status.FAILED, "restored", "as far as it got"),
        (Status.CANCELLED, None, "as far as it got"),
    ]
    assert site.rows("SELECT count(*) FROM request_attempt WHERE ended_at IS NULL") == [(0,)]
    assert any("3 answers were in progress" in line for line in site.said)


def cut(site: BackupSite, made: Manifest) -> Manifest:
    """Cut off the file's last bytes."""
    path = site.shelf.path(made)
    path.write_bytes(path.read_bytes()[:-9])
    return made


def flip(site: BackupSite, made: Manifest) -> Manifest:
    """Flip one bit of the file."""
    path = site.shelf.path(made)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return made


def remove(site: BackupSite, made: Manifest) -> Manifest:
    """Delete the file."""
    site.shelf.path(made).unlink()
    return made


def lie(_: BackupSite, made: Manifest) -> Manifest:
    """Change the manifest without the key."""
    return dataclasses.replace(made, tables={**made.tables, "message": 1})


def newer(site: BackupSite, made: Manifest) -> Manifest:
    """Let it come from a later version of Naru."""
    return dataclasses.replace(made, schema="9999").sealed(site.key)


def newer_server(site: BackupSite, made: Manifest) -> Manifest:
    """Let it come from a later PostgreSQL."""
    return dataclasses.replace(made, postgres="99.1").sealed(site.key)


def miscounted(site: BackupSite, made: Manifest) -> Manifest:
    """Let the manifest count one row more than the dump has."""
    return dataclasses.replace(made, tables={**made.tables, "message": 21}).sealed(site.key)


FAULTS: list[tuple[Callable[[BackupSite, Manifest], Manifest], str]] = [
    (cut, "is truncated"),
    (flip, "was changed after"),
    (remove, "is missing"),
    (lie, "was changed after"),
    (newer, "newer Naru"),
    (newer_server, "server is older"),
    (miscounted, "has 20 rows, but the manifest says 21"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_untrusted_backup_changes_nothing(
    site: BackupSite, fault: Callable[[BackupSite, Manifest], Manifest], words: str
) -> None:
    made = site.take()
    site.execute("DELETE FROM message WHERE id IN (SELECT id FROM message LIMIT 7)")
    before = site.counts()
    with pytest.raises(BackupProblem, match=words):
        site.restore(fault(site, made))
    assert site.counts() == before
    assert site.databases() == set()


def test_wrong_key_changes_nothing(site: BackupSite) -> None:
    made = site.take()
    before = site.counts()
    with pytest.raises(BackupProblem, match="another key"):
        site.restore(made, key=Key("1" * 64))
    assert (site.counts(), site.databases()) == (before, set())


def test_second_concurrent_restore_is_refused(site: BackupSite) -> None:
    made = site.take()
    with swap.alone(site.server), pytest.raises(BackupProblem, match="another restore"):
        site.restore(made)
    assert site.databases() == set()


def test_restore_on_a_full_disk_changes_nothing(own_stack: Stack, tmp_path: Path) -> None:
    site = BackupSite(own_stack.database_url, tmp_path)
    site.fill(rows=9000, size=1920)  # 18 MB in one table; a segment of the WAL has 16 MB
    made = site.take()
    site.execute("TRUNCATE conversation CASCADE")
    limit = 16 << 20
    resource.prlimit(own_stack.servers.postgres.pid, resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(BackupProblem, match=r"pg_restore: .*(File too large|No space)"):
        site.restore(made)
    assert site.counts()["message"] == 0
    assert site.databases() == set()


def test_interrupted_restore_keeps_the_old_data(own_stack: Stack, tmp_path: Path) -> None:
    servers, site = own_stack.servers, BackupSite(own_stack.database_url, tmp_path)
    site.fill(rows=9000, size=1920)
    made = site.take()
    site.execute("DELETE FROM message WHERE id IN (SELECT id FROM message LIMIT 7)")
    before = site.counts()

    def kill() -> None:
        wait_until(lambda: any("_restoring_" in name for name in site.databases()), seconds=20)
        servers.postgres.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(BackupProblem):
        site.restore(made)
    thread.join()
    servers.start_postgres()
    assert site.counts() == before
    assert len(site.databases()) == 1, "what was loaded so far is still there"
    kept = site.restore(made)
    assert any("removing" in line for line in site.said)
    assert site.databases() == {kept}
    assert site.counts() == made.tables


def test_chain_of_events_goes_on_after_a_restore(site: BackupSite) -> None:
    engine = make_plain_engine(site.url)
    with transaction(engine) as connection:
        audit.record(connection, Kind.ACCOUNT_ENABLED, subject="person:x")
    marks.seal(engine, SECRET, is_first=True)
    made = site.take()
    with transaction(engine) as connection:
        audit.record(connection, Kind.ACCOUNT_DISABLED, subject="person:x")
    marks.seal(engine, SECRET, is_first=False)
    kept = site.restore(made)
    restored = verify(engine, secret_key=SECRET)
    assert (restored.events, restored.sealed, restored.is_proved) == (2, 1, True)
    (event,) = newest(engine, Filter(), most=1)
    assert (event.kind, event.actor, event.details) == ("backup_restored", "terminal", {"backup": made.name})
    assert marks.seal(engine, SECRET, is_first=False)
    go_back(site.server, kept)
    assert [event.kind for event in newest(engine, Filter(), most=9)] == [
        "backup_restored",
        "account_disabled",
        "account_enabled",
    ]
    assert verify(engine, secret_key=SECRET).is_proved
