"""The log of the embedded PostgreSQL holds no user's text and no needless error."""

from __future__ import annotations

import psycopg2
import pytest
from psycopg2 import sql

from deploy.embedded.parts import is_migrated
from tests.stack import Servers, wait_until


def test_failed_statement_logs_no_values(servers: Servers) -> None:
    log = servers.folder / "postgres.log"
    with pytest.raises(psycopg2.errors.NotNullViolation):
        servers.execute(
            sql.SQL("CREATE TEMP TABLE said (content text, owner text NOT NULL);")
            + sql.SQL("INSERT INTO said (content) VALUES ({})").format(sql.Literal("planted in the question"))
        )
    wait_until(lambda: "not-null constraint" in log.read_text(), seconds=5)
    assert "planted" not in log.read_text()


def test_table_check_accepts_a_new_database(servers: Servers) -> None:
    log = servers.folder / "postgres.log"
    before = log.read_text().count("alembic_version")
    assert not is_migrated(servers.postgres_server.url_of("postgres"))
    assert is_migrated(servers.postgres_server.url)
    assert log.read_text().count("alembic_version") == before
