"""Tests of migrations: from an empty database to the code's tables, back, and up again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, TextClause, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from shared.errors import SettingsError
from shared.migrations.__main__ import config, migrate
from shared.migrations.online import LOCK_SECONDS
from shared.postgres.urls import driver_url
from shared.tables import metadata
from tests.patience import patient
from tests.shared.rig import RequestRig
from tests.shared.together import together
from tests.stack import Servers, free_port, wait_until


@pytest.fixture
def empty_url(servers: Servers) -> Iterator[str]:
    yield servers.create_database("empty", template="template1")
    servers.drop_database("empty")


@pytest.fixture
def empty(empty_url: str) -> Engine:
    return create_engine(driver_url(empty_url), poolclass=NullPool)


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def shape(engine: Engine) -> list[tuple[object, ...]]:
    """Return every constraint and index, which comparing columns does not cover."""
    statement = """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
        UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2, 3
    """
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(statement))]
    return [row for row in found if row[0] != "alembic_version"]


def test_migrations_create_the_tables_of_the_code(servers: Servers, empty: Engine, empty_url: str) -> None:
    migrate(empty_url)
    assert tables(empty) == {*metadata.tables, "alembic_version"}
    assert differences(empty) == []
    migrated = shape(empty)
    direct = create_engine(driver_url(servers.create_database("direct", template="template1")), poolclass=NullPool)
    metadata.create_all(direct)
    try:
        assert shape(direct) == migrated
    finally:
        servers.drop_database("direct")


def test_migrations_downgrade_and_upgrade_again(empty: Engine, empty_url: str) -> None:
    migrate(empty_url)
    before = shape(empty)
    with empty.connect() as connection:
        settings = config()
        settings.attributes["connection"] = connection
        command.downgrade(settings, "base")
    assert tables(empty) == {"alembic_version"}
    migrate(empty_url)
    assert shape(empty) == before


def upgrade(engine: Engine, revision: str) -> None:
    with engine.connect() as connection:
        settings = config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)


OLD_REQUEST = text(
    """
    WITH made AS (INSERT INTO conversation (id, owner_id, title) VALUES (gen_random_uuid(), 'x', 'x') RETURNING id),
         asked AS (INSERT INTO message (id, conversation_id, role, content)
                   SELECT gen_random_uuid(), id, 'user', 'x' FROM made RETURNING id, conversation_id)
    INSERT INTO chat_request (id, owner_id, conversation_id, user_message_id, idempotency_key, model, status,
                              deadline_at, ended_at)
    SELECT gen_random_uuid(), 'x', conversation_id, id, id::text, :model, :status,
           clock_timestamp() + interval '1 hour', CASE WHEN :status = 'cancelled' THEN clock_timestamp() END
    FROM asked
    """
)


def test_lanes_arrive_under_active_requests(empty: Engine, empty_url: str) -> None:
    """The previous version's statements run before and after the migration; its requests are answered in a lane."""
    upgrade(empty, "0002")
    with empty.begin() as connection:
        for status in ("queued", "cancelled"):
            connection.execute(OLD_REQUEST, {"model": "openai/gpt", "status": status})
    migrate(empty_url)
    rows = text("SELECT status, lane, fair_at = created_at AS is_fair FROM chat_request ORDER BY created_at")
    with empty.begin() as connection:
        migrated = [tuple(row) for row in connection.execute(rows)]
        connection.execute(OLD_REQUEST, {"model": "openai/gpt", "status": "queued"})
    assert migrated == [("queued", "", True), ("cancelled", "", None)], "ended rows are not rewritten"
    rig = RequestRig(empty)
    worker_id = rig.worker("openai/gpt")
    rig.tick()
    claims = [rig.claim_from("openai", worker_id, models=["openai/gpt"]) for _ in range(3)]
    assert [each is not None for each in claims] == [True, True, False]


def test_migrating_again_changes_nothing(empty: Engine, empty_url: str) -> None:
    migrate(empty_url)
    before = shape(empty)
    migrate(empty_url)
    assert shape(empty) == before


def test_concurrent_migrations_do_not_collide(empty: Engine, empty_url: str) -> None:
    assert together(*[lambda: migrate(empty_url)] * 3) == [None, None, None]
    assert differences(empty) == []


def counted(engine: Engine, statement: TextClause) -> int:
    with engine.connect() as connection:
        return int(connection.execute(statement).scalar_one())


@pytest.mark.parametrize("revision", ["0002", "0003"])
def test_questions_go_on_while_indexes_are_built(empty: Engine, empty_url: str, revision: str) -> None:
    """A build waits for a question that is being stored, and holds up none that comes after it."""
    upgrade(empty, revision)
    storing = text("LOCK TABLE chat_request IN ROW EXCLUSIVE MODE")
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE INDEX%'"
    )
    with ThreadPoolExecutor(1) as thread:
        with empty.connect() as stored_before, empty.connect() as stored_after:
            stored_before.execute(storing)
            migrating = thread.submit(migrate, empty_url)
            wait_until(lambda: counted(empty, waiting), what="the build waits")
            stored_after.execute(text("SET lock_timeout = '2s'"))
            stored_after.execute(storing)
        migrating.result(timeout=patient(30))
    assert differences(empty) == []


def test_migration_behind_a_backup_holds_up_no_question(empty: Engine, empty_url: str) -> None:
    """A change of a table waits for the backup that reads it, and everybody else would wait behind the change."""
    upgrade(empty, "0004")
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE%'")
    with ThreadPoolExecutor(1) as thread:
        with empty.connect() as backup, empty.connect() as stored:
            backup.execute(text("LOCK TABLE chat_request IN ACCESS SHARE MODE"))
            migrating = thread.submit(migrate, empty_url)
            wait_until(lambda: counted(empty, waiting), what="the change waits")
            stored.execute(text(f"SET lock_timeout = '{patient(2 * LOCK_SECONDS):g}s'"))
            stored.execute(text("LOCK TABLE chat_request IN ROW EXCLUSIVE MODE"))
        migrating.result(timeout=patient(30))
    assert differences(empty) == []


def test_migration_gives_up_with_a_sentence(empty: Engine, empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.migrations.__main__.LOCKED_SECONDS", 0.0)
    upgrade(empty, "0004")
    with empty.connect() as backup:
        backup.execute(text("LOCK TABLE chat_request IN ACCESS SHARE MODE"))
        with pytest.raises(SettingsError, match="Migrate again when it has ended"):
            migrate(empty_url)
    migrate(empty_url)
    assert differences(empty) == []


@pytest.mark.parametrize(("done", "noted"), [("0003", "0002"), ("0005", "0004")])
def test_interrupted_build_is_made_again(empty: Engine, empty_url: str, done: str, noted: str) -> None:
    """What was before a build that was interrupted is committed, but the revision is not noted."""
    upgrade(empty, done)
    with empty.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :noted"), {"noted": noted})
    migrate(empty_url)
    assert differences(empty) == []


def test_migrations_have_one_head() -> None:
    scripts = ScriptDirectory.from_config(config())
    assert len(scripts.get_heads()) == 1
    assert len(scripts.get_bases()) == 1


def test_migration_names_an_absent_server_without_password() -> None:
    with pytest.raises(SettingsError, match="did not answer") as refused:
        migrate(f"postgresql://naru:secret-word@127.0.0.1:{free_port()}/x", patience_seconds=0.3)
    assert "secret-word" not in str(refused.value)
