"""Tests of an address with several hosts: each has its own limit, and the one that served last comes first."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn
from sqlalchemy import text

from deploy.backup.server import Server
from deploy.compose.setup import password_of_naru
from shared.lifecycle import Question, submit
from shared.people import Owner
from shared.postgres import connections, hosts, notify
from shared.postgres.database import make_engine, make_listening_engine, make_plain_engine, ping, transaction
from shared.postgres.urls import driver_url, hosts_of, libpq_url, with_database
from shared.redaction import redacted
from shared.settings import Settings
from tests.stack import free_port, wait_until
from web.watch.listener import Listener


class SilentHost:
    """A host that accepts connections and sends nothing, like a frozen server."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def place(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def tries(self) -> int:
        """How often somebody connected."""
        return len(self._accepted)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._accepted.append(self._socket.accept()[0])

    def close(self) -> None:
        """Close all sockets."""
        for each in (self._socket, *self._accepted):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def silent() -> Iterator[SilentHost]:
    """A host that never answers."""
    made = SilentHost()
    yield made
    made.close()


def behind(url: str, *places: str) -> str:
    """Return the address with these places before its own host."""
    own = hosts_of(url)
    return url.replace(own, ",".join((*places, own))) + "?target_session_attrs=read-write"


@pytest.fixture
def settings_of_many(rig_settings: Settings, silent: SilentHost) -> Settings:
    """Settings whose address names a closed port and a silent host before the real server."""
    nobody = f"127.0.0.1:{free_port()}"
    return dataclasses.replace(rig_settings, database_url=behind(rig_settings.database_url, nobody, silent.place))


@pytest.mark.usefixtures("rig")
def test_question_is_stored_behind_a_silent_host(settings_of_many: Settings, silent: SilentHost) -> None:
    engine = make_engine(settings_of_many, name="many", pool=2)
    question = Question(owner=Owner("o"), conversation_id=uuid4(), text="?", idempotency_key="k")
    assert submit(engine, question, deadline_seconds=60, max_characters=100).is_new
    assert silent.tries == 1
    engine.dispose()
    ping(engine)
    assert silent.tries == 1, "the host that served last comes first"
    engine.dispose()


@pytest.mark.usefixtures("rig")
def test_every_engine_understands_several_hosts(settings_of_many: Settings) -> None:
    connections.limit_waits()
    engines = (
        make_listening_engine(settings_of_many, name="many"),
        make_plain_engine(settings_of_many.database_url),
        make_engine(settings_of_many, name="many", pool=1),
    )
    for engine in engines:
        with engine.connect() as connection:
            assert connection.execute(text("SELECT NOT pg_is_in_recovery()")).scalar_one()
        engine.dispose()


def test_no_usable_host_names_the_reason_of_each(silent: SilentHost) -> None:
    connections.limit_waits()
    url = f"postgresql://u:hidden@127.0.0.1:{free_port()},{silent.place}/d?target_session_attrs=read-write"
    with pytest.raises(psycopg2.OperationalError) as raised:
        hosts.connect(url)
    assert "refused" in str(raised.value)
    assert "silent" in str(raised.value)
    assert "hidden" not in str(raised.value)


@pytest.mark.usefixtures("rig")
def test_listener_hears_behind_a_silent_host(settings_of_many: Settings) -> None:
    connections.limit_waits()
    heard: list[notify.Notice] = []
    listener = Listener(settings_of_many, heard.append, on_gap=lambda: None)
    listener.start()
    engine = make_engine(settings_of_many, name="many", pool=1)

    def is_heard() -> bool:
        with transaction(engine) as connection:
            notify.after_commit(connection, notify.ENDED, uuid4(), uuid4())
        return bool(heard)

    wait_until(is_heard, what="the notice")
    assert heard[0].channel == notify.ENDED
    listener.close()
    engine.dispose()


def test_backup_reaches_the_server_behind_others(settings_of_many: Settings) -> None:
    server = Server(settings_of_many.database_url)
    assert server.database == settings_of_many.database_url.rpartition("/")[2].partition("?")[0]
    with server.connected("postgres") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == ("postgres",)


@pytest.mark.parametrize(
    ("url", "listed", "first"),
    [
        ("postgresql://u:p%40@a:1,b/d?x=y,z", "a:1,b", "postgresql+psycopg2://u:p%40@a:1/d?x=y,z"),
        ("postgres://[::1]:5,[::2]/d", "[::1]:5,[::2]", "postgresql+psycopg2://[::1]:5/d"),
        ("postgresql+psycopg2://u:a,b@c/d", "c", "postgresql+psycopg2://u:a,b@c/d"),
        ("postgresql:///d?host=/run", "", "postgresql+psycopg2:///d?host=/run"),
    ],
)
def test_hosts_of_an_address_are_found(url: str, listed: str, first: str) -> None:
    assert hosts_of(url) == listed
    assert driver_url(url) == first
    assert libpq_url(url).startswith("postgresql://")
    assert hosts_of(with_database(url, "other x")) == listed
    assert "/other%20x" in with_database(url, "other x")


@pytest.mark.parametrize("options", ["?dbname=live", "?sslmode=disable&db%6Eame=live&dbname=live&connect_timeout=3"])
def test_option_does_not_override_another_database(options: str) -> None:
    own = f"postgresql://u:p@a:1,b:2/live{options}"
    assert parse_dsn(libpq_url(own))["dbname"] == "live"
    other = parse_dsn(libpq_url(with_database(own, "a/b c")))
    assert other == {**parse_dsn(libpq_url(own)), "dbname": "a/b c"}


def test_no_address_has_no_other_database() -> None:
    with pytest.raises(ValueError, match="not the address"):
        with_database("dbname=live", "other")


def test_password_of_several_hosts_stays_out_of_logs() -> None:
    line = redacted("cannot reach postgresql://u:hidden@a:1,b:2/d?target_session_attrs=read-write")
    assert line == "cannot reach postgresql://u:[redacted]@a:1,b:2/d?target_session_attrs=read-write"


def test_setup_finds_the_password_beside_several_hosts(tmp_path: Path) -> None:
    (tmp_path / "database_url").write_text("postgresql://naru:s%2Fx@a:1,b:2/naru?target_session_attrs=read-write")
    assert password_of_naru(tmp_path) == "s/x"
