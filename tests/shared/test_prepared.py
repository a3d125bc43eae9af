"""Tests of prepared statements: they return the same rows, are planned once, and work behind a pooler."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, Integer, bindparam, cast, func, literal, select, text
from sqlalchemy.exc import DBAPIError

from shared.errors import Unsure
from shared.lifecycle import Question, submit
from shared.people import Owner
from shared.postgres.database import is_outage, make_engine, statement, transaction
from shared.postgres.prepared import Batch, prepared
from shared.settings import Settings
from shared.tables import conversation

_ONE, _TWO = (cast(bindparam(name), Integer) for name in ("one", "two"))
_SUM = prepared(select(_ONE + _TWO, _ONE % 4, literal("50 % of it's %(one)s")))


@pytest.fixture
def one_connection(rig_settings: Settings) -> Iterator[Engine]:
    """Yield an engine with a single connection."""
    made = make_engine(rig_settings, name="one", pool=1)
    yield made
    made.dispose()


_NOTHING_ASKED = prepared(text("SELECT 1"))


def _names_in(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT name FROM pg_prepared_statements ORDER BY prepare_time")).scalars())


def _prepared_in(connection: Connection) -> list[str]:
    return list(
        connection.execute(text("SELECT statement FROM pg_prepared_statements ORDER BY prepare_time")).scalars()
    )


def test_statement_is_prepared_once_and_returns_the_same_rows(one_connection: Engine) -> None:
    for one in range(8):
        with statement(one_connection) as connection:
            row = tuple(connection.execute(_SUM, {"one": one, "two": 2}).one())
        assert row == (one + 2, one % 4, "50 % of it's %(one)s")
    with statement(one_connection) as connection:
        assert len(_prepared_in(connection)) == 1


def test_statement_without_parameters_runs(one_connection: Engine) -> None:
    for _ in range(2):
        with statement(one_connection) as connection:
            assert connection.execute(_NOTHING_ASKED).scalar_one() == 1


_MADE = text("INSERT INTO conversation (id, owner_id, title) VALUES (:id, 'o', :title)")
_SEEN = select(conversation.c.title, cast(literal(7), Integer) % 4).where(conversation.c.id == bindparam("id"))
_BOTH = Batch(_MADE, _SEEN)
_BAD = Batch(_MADE, select(literal(1) / bindparam("by", type_=Integer)))


@pytest.mark.usefixtures("rig")
@pytest.mark.parametrize("pooled", [False, True])
def test_statements_sent_together_are_prepared_once(rig_settings: Settings, *, pooled: bool) -> None:
    settings = dataclasses.replace(rig_settings, listen_database_url=rig_settings.database_url if pooled else "")
    engine = make_engine(settings, name="together", pool=1)
    for title in ("50 % of it's %(id)s", "한글; SELECT 1"):
        with statement(engine) as connection:
            assert tuple(_BOTH.run(connection, {"id": uuid4(), "title": title}).one()) == (title, 3)
    with statement(engine) as connection:
        assert len(_prepared_in(connection)) == (0 if pooled else 2)
    engine.dispose()


@pytest.mark.usefixtures("rig")
def test_pipelined_statements_commit_together_or_not_at_all(one_connection: Engine) -> None:
    with pytest.raises(DBAPIError), statement(one_connection) as connection:
        _BAD.run(connection, {"id": uuid4(), "title": "?", "by": 0})
    with statement(one_connection) as connection:
        assert connection.execute(select(func.count()).select_from(conversation)).scalar_one() == 0


def test_pooler_disables_prepared_statements(rig_settings: Settings) -> None:
    settings = dataclasses.replace(rig_settings, listen_database_url=rig_settings.database_url)
    engine = make_engine(settings, name="pooled", pool=1)
    with statement(engine) as connection:
        assert connection.execute(_SUM, {"one": 1, "two": 2}).first()
        assert not _prepared_in(connection)
    engine.dispose()


@pytest.mark.parametrize("begin", [statement, transaction])
def test_undeclared_pooler_costs_no_statement(one_connection: Engine, begin: Any) -> None:
    with statement(one_connection) as connection:
        connection.execute(_SUM, {"one": 1, "two": 2})
        connection.execute(text("DEALLOCATE ALL"))  # another connection of the pooler has none prepared
    for _ in range(3):
        with begin(one_connection) as connection:
            assert connection.execute(_SUM, {"one": 1, "two": 2}).first() == (3, 1, "50 % of it's %(one)s")
            assert not _prepared_in(connection)


def test_undeclared_pooler_repeats_the_whole_batch(one_connection: Engine) -> None:
    with statement(one_connection) as connection:
        assert _BOTH.run(connection, {"id": uuid4(), "title": "first"}).first()
        connection.execute(text(f"DEALLOCATE {_names_in(connection)[-1]}"))
    with statement(one_connection) as connection:
        made = uuid4()
        assert tuple(_BOTH.run(connection, {"id": made, "title": "again"}).one()) == ("again", 3)


def test_undeclared_pooler_breaks_a_transaction_as_unsure(one_connection: Engine) -> None:
    with statement(one_connection) as connection:
        connection.execute(_SUM, {"one": 1, "two": 2})
        connection.execute(text("DEALLOCATE ALL"))

    def second_in_a_transaction() -> None:
        with transaction(one_connection) as connection:
            connection.execute(text("SELECT 1"))
            connection.execute(_SUM, {"one": 1, "two": 2})

    with pytest.raises(Unsure):
        second_in_a_transaction()
    with transaction(one_connection) as connection:
        assert connection.execute(_SUM, {"one": 1, "two": 2}).first()


def test_name_of_a_prepared_statement_comes_from_its_text(rig_settings: Settings) -> None:
    names = []
    for first in (_SUM, _NOTHING_ASKED):
        engine = make_engine(rig_settings, name="names", pool=1)
        with statement(engine) as connection:
            connection.execute(first, {"one": 1, "two": 2} if first is _SUM else {})
            names += _names_in(connection)
        engine.dispose()
    assert len(set(names)) == 2


def test_statement_error_is_not_an_outage(one_connection: Engine) -> None:
    with pytest.raises(DBAPIError) as raised, statement(one_connection) as connection:
        connection.execute(_SUM, {"one": 2**31 - 1, "two": 2})
    assert not is_outage(raised.value)


@pytest.mark.usefixtures("rig")
def test_generic_plan_uses_the_index_of_active_requests(one_connection: Engine) -> None:
    question = Question(owner=Owner("o"), conversation_id=uuid4(), text="?", idempotency_key="k")
    submit(one_connection, question, deadline_seconds=60, max_characters=100)
    # The conversation has many ended requests: only the index of active requests skips them.
    ended = """
        INSERT INTO chat_request (id, owner_id, conversation_id, user_message_id, idempotency_key, model, status,
                                  attempt, ended_at, deadline_at)
        SELECT gen_random_uuid(), owner_id, conversation_id, user_message_id, n::text, '', 'succeeded', 1,
               clock_timestamp(), clock_timestamp() FROM chat_request, generate_series(1, 1000) AS n
    """
    with one_connection.begin() as connection:
        connection.execute(text(ended))
        connection.execute(text("ANALYZE chat_request"))
    with one_connection.begin() as connection:
        name, count = connection.execute(
            text(
                "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements "
                "WHERE statement LIKE '%INSERT INTO chat_request%'"
            )
        ).one()
        rows = connection.execute(text(f"EXPLAIN EXECUTE {name}({', '.join(['NULL'] * count)})")).scalars()
        plan = "\n".join(rows)
        assert "uq_chat_request_one_active" in plan, plan
