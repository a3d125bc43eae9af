"""The database roles that compose's one-shot makes, on real servers: on a new volume, and on an old one whose
superuser was `naru`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege

from deploy.backup import drill
from deploy.backup.restore import Load, forget, go_back
from deploy.compose.setup import SetupOptions, set_up
from deploy.embedded import postgres
from deploy.embedded.processes import ROOT
from shared.migrations.__main__ import migrate
from tests.backup.site import BackupSite, naru
from tests.patience import patient
from tests.stack import Servers, Stack

MAKE = ROOT / "deploy" / "compose" / "roles" / "make.sh"
KEPT = "naru_before_20260101T000000000Z"
ROLES = """
    SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolcanlogin,
           ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = pg_roles.oid)
      FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY rolname
"""
OWNERS = """
    SELECT relname, relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION SELECT datname, datdba::regrole::text FROM pg_database ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Volume:
    """A server, and the secrets that `./naru compose setup` made for it."""

    servers: Servers
    folder: Path

    def secret(self, name: str) -> str:
        """Return the content of a file in secrets/."""
        return (self.folder / "secrets" / name).read_text().strip()

    def url(self, role: str, database: str = "naru") -> str:
        """Return a database address with the password from the role's file."""
        files = {"postgres": "postgres_superuser_password", "naru_monitor": "postgres_monitor_password"}
        password = self.secret(files.get(role, "postgres_password"))
        return f"postgresql://{role}:{password}@127.0.0.1:{self.servers.postgres_server.port}/{database}"

    def connect(self, role: str, database: str = "naru", *, name: str = "") -> Any:
        """Connect as a role, with `name` as the application's name; each statement commits."""
        connection = psycopg2.connect(self.url(role, database), application_name=name)
        connection.autocommit = True
        return connection

    def make(self) -> subprocess.CompletedProcess[str]:
        """Run the one-shot with compose's variables; fail if it shows a password."""
        secrets = self.folder / "secrets"
        environ = {
            **self.servers.environ,
            "PATH": f"{postgres.programs()}:{self.servers.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.servers.postgres_server.port),
            "SUPERUSER_PASSWORD_FILE": str(secrets / "postgres_superuser_password"),
            "NARU_PASSWORD_FILE": str(secrets / "postgres_password"),
            "MONITOR_PASSWORD_FILE": str(secrets / "postgres_monitor_password"),
        }
        done = subprocess.run(
            ["sh", str(MAKE)], env=environ, capture_output=True, text=True, timeout=patient(60), check=False
        )
        for each in secrets.glob("postgres_*"):
            value = each.read_text().strip()
            assert not value or value not in done.stdout + done.stderr, f"{each.name} is shown"
        return done

    def state(self) -> list[tuple[object, ...]]:
        """Return every role with its rights, and every table and database with its owner."""
        with closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            found: list[tuple[object, ...]] = []
            for question in (ROLES, OWNERS):
                cursor.execute(question)
                found += cursor.fetchall()
            return found


def volume_of(servers: Servers, folder: Path, **passwords: str) -> Volume:
    """Return a volume whose folder had these passwords before setup made the other secrets."""
    (folder / "secrets").mkdir()
    for name, value in passwords.items():
        (folder / "secrets" / name).write_text(f"{value}\n")
    set_up(SetupOptions(folder=folder, domain="", email="", files={}, environ={}))
    return Volume(servers, folder)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volume]:
    """Yield a volume as the Postgres image makes it, with the superuser postgres; then roles, tables and rows."""
    folder = tmp_path_factory.mktemp("new")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres, "USER", "postgres")
        servers = Servers(folder)
    try:
        made = volume_of(servers, folder, postgres_superuser_password=servers.password)
        assert made.make().returncode == 0
        migrate(made.url("naru"))
        BackupSite(made.url("naru"), folder).fill()
        yield made
    finally:
        servers.close()


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volume]:
    """Yield a volume used as the superuser naru: it has rows, a database that a restore kept, and an open session."""
    folder = tmp_path_factory.mktemp("before")
    servers = Servers(folder)
    try:
        url, port = servers.postgres_server.url, servers.postgres_server.port
        migrate(url)
        BackupSite(url, folder).fill()
        servers.create_database(KEPT, template="naru")
        old = {"postgres_password": servers.password, "database_url": url.replace(f"127.0.0.1:{port}", "postgres:5432")}
        made = volume_of(servers, folder, **old)
        assert {name: made.secret(name) for name in old} == old, "setup changed an existing secret"
        with closing(made.connect("naru")) as connection, connection.cursor() as cursor:
            done = made.make()
            assert done.returncode == 0, done.stderr
            with pytest.raises(psycopg2.OperationalError):  # the session was the superuser's, whatever its name now
                cursor.execute("SELECT 1")
        yield made
    finally:
        servers.close()


@pytest.fixture(params=["new", "before"])
def volume(request: pytest.FixtureRequest) -> Volume:
    """Return either volume, with its roles made."""
    found: Volume = request.getfixturevalue(request.param)
    return found


def test_second_run_changes_nothing(volume: Volume) -> None:
    before = volume.state()
    done = volume.make()
    assert done.returncode == 0, done.stderr
    assert volume.state() == before
    assert before[:3] == [
        ("naru", False, False, True, False, False, True, ["pg_signal_backend"]),
        ("naru_monitor", False, False, False, False, False, True, ["pg_monitor"]),
        ("postgres", True, True, True, True, True, True, []),
    ]
    assert {owner for name, owner in before[3:] if name not in {"postgres", "template0", "template1"}} == {"naru"}


def test_roles_job_reverts_manual_changes(volume: Volume) -> None:
    before = volume.state()
    with closing(volume.connect("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER ROLE naru SUPERUSER CREATEROLE PASSWORD 'guess'; ALTER TABLE message OWNER TO postgres")
        cursor.execute("DROP ROLE naru_monitor")
    done = volume.make()
    assert done.returncode == 0, done.stderr
    assert volume.state() == before
    volume.connect("naru").close()


def test_next_run_ends_superuser_sessions(volume: Volume) -> None:
    """A run that dies after it renamed the superuser leaves such sessions."""
    with (
        closing(volume.connect("postgres", name="naru-web")) as left,
        closing(volume.connect("postgres", name="psql")) as of_a_person,
        closing(volume.connect("naru", name="naru-web")) as ordinary,
    ):
        done = volume.make()
        assert done.returncode == 0, done.stderr
        with pytest.raises(psycopg2.OperationalError), left.cursor() as cursor:
            cursor.execute("SELECT 1")
        for each in (of_a_person, ordinary):
            with each.cursor() as cursor:
                cursor.execute("SELECT 1")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE ROLE another",
        "SELECT rolpassword FROM pg_authid",
        "ALTER SYSTEM SET log_statement = 'all'",
        "COPY message TO PROGRAM 'cat'",
        "SELECT pg_read_file('PG_VERSION')",
    ],
)
def test_naru_is_an_ordinary_role(volume: Volume, statement: str) -> None:
    with (
        closing(volume.connect("naru")) as connection,
        connection.cursor() as cursor,
        pytest.raises(InsufficientPrivilege),
    ):
        cursor.execute(statement)


TRAP = """
CREATE TABLE public.caught (who text);
CREATE FUNCTION public.trap(oid, integer) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN true; END $$;
CREATE OPERATOR public.= (FUNCTION = public.trap, LEFTARG = oid, RIGHTARG = integer);
ALTER DATABASE naru SET search_path = public, pg_catalog
"""
NO_TRAP = """
ALTER DATABASE naru RESET search_path;
DROP OPERATOR public.= (oid, integer);
DROP FUNCTION public.trap;
DROP TABLE public.caught
"""


def test_superuser_runs_nothing_that_naru_defined(volume: Volume) -> None:
    with closing(volume.connect("naru")) as connection, connection.cursor() as cursor:
        cursor.execute(TRAP)
        try:
            cursor.execute("SELECT oid = 10 FROM pg_roles WHERE rolname = 'postgres'")
            cursor.execute("TRUNCATE public.caught")
            done = volume.make()
            cursor.execute("SELECT who FROM public.caught")
            assert (cursor.fetchall(), done.returncode) == ([], 0), done.stderr
        finally:
            cursor.execute(NO_TRAP)


def test_naru_migrates(volume: Volume) -> None:
    migrate(volume.url("naru"))
    with closing(volume.connect("naru")) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE message ADD COLUMN later int; ALTER TABLE message DROP COLUMN later")
        cursor.execute("SELECT tableowner FROM pg_tables WHERE schemaname = 'public' AND tablename = 'message'")
        assert cursor.fetchall() == [("naru",)]


def test_product_runs_after_tables_leave_the_superuser(before: Volume, tmp_path: Path) -> None:
    stack = Stack(tmp_path / "logs", before.url("naru"), before.servers.redis_server.url, before.servers)
    try:
        stack.start_simulator()
        stack.start_worker()
        asked = naru(stack, "ask", "Where is the landing?", "--json")
    finally:
        stack.close()
    assert json.loads(asked.stdout)["status"] == "succeeded", asked.stderr


def test_monitor_role_reads_statistics_but_no_texts(volume: Volume) -> None:
    with (
        closing(volume.connect("naru")) as connection,
        connection.cursor() as naru_s,
        closing(volume.connect("naru_monitor")) as monitoring,
        monitoring.cursor() as cursor,
    ):
        naru_s.execute("SELECT 'seen by the monitor'")
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%seen by the mon' || 'itor%'")
        assert cursor.fetchone() == (1,)
        for statement in ("SELECT content FROM message", "CREATE TABLE mine (n int)", "SELECT * FROM pg_authid"):
            with pytest.raises(InsufficientPrivilege):
                cursor.execute(statement)


def test_backup_drill_restore_and_undo_run_as_naru(volume: Volume, tmp_path: Path) -> None:
    site = BackupSite(volume.url("naru"), tmp_path)
    made = site.take()
    load = Load(seconds=60, grants=True, say=site.said.append)
    assert drill.drill(site.server, site.source(made), load) > 0
    site.execute("TRUNCATE conversation CASCADE")
    before = site.databases()
    # The exporter's open connection is in the way of the renaming.
    with closing(volume.connect("naru_monitor")):
        kept = site.restore(made)
    assert site.counts() == made.tables
    with closing(volume.connect("naru_monitor")):
        go_back(site.server, kept)
    assert site.counts()["conversation"] == 0
    with closing(volume.connect("naru_monitor")):
        go_back(site.server, "")
    assert site.counts() == made.tables
    forget(site.server, kept_now(site, before))
    assert site.databases() == before


def kept_now(site: BackupSite, before: set[str]) -> str:
    """Return the one database that was added."""
    (name,) = site.databases() - before
    return name


def test_roles_keep_data_and_restored_copies(before: Volume, tmp_path: Path) -> None:
    site = BackupSite(before.url("naru"), tmp_path)
    others = site.databases()
    assert KEPT in others
    go_back(site.server, KEPT)
    assert site.counts()["message"] == 20
    (now,) = site.databases() - others
    go_back(site.server, now)
    assert site.counts()["message"] >= 20


def test_wrong_password_gets_an_error_that_says_what_to_do(new: Volume) -> None:
    file = new.folder / "secrets" / "postgres_superuser_password"
    right = file.read_text()
    file.chmod(0o600)
    try:
        file.write_text("guessed\n")
        done = new.make()
        assert (done.returncode, "psql -U postgres -c" in done.stderr) == (1, True), done.stderr
        file.write_text("")
        assert "./naru compose setup" in new.make().stderr
    finally:
        file.write_text(right)
