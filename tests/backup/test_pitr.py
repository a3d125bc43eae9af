"""Point-in-time recovery end to end: a base backup, archived WAL, an accident, a restore to before it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.embedded import postgres, privileges
from deploy.embedded.processes import ROOT
from tests.backup.site import BackupSite
from tests.patience import patient
from tests.stack import Servers, free_port, start, wait_until

PITR = ROOT / "deploy" / "backup" / "pitr"
RATE = "8M"
STREAMING = "SELECT count(*) FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'"


@pytest.fixture
def archiving(tmp_path: Path) -> Iterator[Servers]:
    """Yield a server that archives its WAL in `archive`."""
    servers = Servers(tmp_path)
    archive = tmp_path / "archive"
    archive.mkdir()
    (tmp_path / "key").write_text("k" * 64 + "\n")
    privileges.change_owner(archive, owner=servers.run_as.owner)
    os.chown(tmp_path / "key", servers.run_as.owner, -1)
    servers.environ |= {"NARU_PITR_DIR": str(archive), "NARU_BACKUP_KEY_FILE": str(tmp_path / "key")}
    servers.environ["PATH"] = f"{postgres.programs()}:{servers.environ['PATH']}"
    try:
        run(
            servers,
            "psql",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-v",
            f"script={PITR / 'archive.sh'}",
            "-f",
            str(PITR / "archive.sql"),
        )
        servers.stop_postgres()
        servers.start_postgres()
        yield servers
    finally:
        servers.close()


def run(servers: Servers, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program with the variables by which psql finds the server."""
    where = {"PGHOST": "127.0.0.1", "PGPORT": str(servers.postgres_server.port), "PGUSER": "naru"}
    environ = {**servers.environ, **where, "PGPASSWORD": servers.password, "PGDATABASE": "postgres"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=patient(60), check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def ended(base: Path) -> datetime:
    """Return when a base backup was complete, as its name says."""
    return datetime.strptime(base.name.removesuffix(".tar.enc").rpartition("-")[2], "%Y%m%dT%H%M%SZ").replace(
        tzinfo=UTC
    )


@contextmanager
def second_base_backup(servers: Servers, site: BackupSite, folder: Path) -> Iterator[None]:
    """Take another base backup, as slow as for a large database, while the block runs; then wait for its end."""
    slow = folder / "slow"
    slow.mkdir()
    real = postgres.programs() / "pg_basebackup"
    (slow / "pg_basebackup").write_text(f'#!/bin/sh\nexec "{real}" --max-rate={RATE} "$@"\n')
    (slow / "pg_basebackup").chmod(0o755)
    command = ("env", f"PATH={slow}:{servers.environ['PATH']}", str(PITR / "base.sh"))
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(run, servers, *command)
        wait_until(lambda: site.rows(STREAMING) == [(1,)], seconds=20, what="it has begun")
        yield
        assert not made.done(), "it was still under way"
        made.result()


def test_restore_recovers_the_moment_before_an_accident(archiving: Servers, tmp_path: Path) -> None:
    site = BackupSite(archiving.postgres_server.url, tmp_path)
    site.execute("CREATE TABLE landing (n int)")
    site.execute("INSERT INTO landing SELECT generate_series(1, 10)")
    base = Path(run(archiving, str(PITR / "base.sh")).stdout.strip())
    assert base.read_bytes()[:8] == b"Salted__"

    wait_until(lambda: site.rows(f"SELECT now() > '{ended(base)}'") == [(True,)], seconds=5)
    with second_base_backup(archiving, site, tmp_path):
        site.execute("INSERT INTO landing SELECT generate_series(11, 17)")  # in the WAL only
        ((moment,),) = site.rows("SELECT clock_timestamp()::text")
    assert len(list(base.parent.glob("base-*.tar.enc"))) == 2, "the second began before the moment, and ended after it"
    site.execute("DELETE FROM landing")
    site.execute("SELECT pg_switch_wal()")
    ((last,),) = site.rows("SELECT pg_walfile_name(pg_current_wal_lsn() - 1)")
    archived = base.parents[1] / "wal"
    wait_until((archived / f"{last}.enc").exists, seconds=20, what="the last segment is archived")
    assert site.rows("SELECT failed_count FROM pg_stat_archiver") == [(0,)]

    refused = run(archiving, str(PITR / "recover.sh"), "2020-01-01 00:00:00+00", str(tmp_path / "new"), check=False)
    assert (refused.returncode, "had ended by" in refused.stderr) == (1, True)
    recovered = tmp_path / "recovered"
    said = run(archiving, str(PITR / "recover.sh"), str(moment), str(recovered)).stdout
    assert base.name in said, "the one that had ended by then"
    privileges.change_owner(recovered, owner=archiving.run_as.owner)
    server = replace(archiving.postgres_server, data=recovered, port=free_port())
    process = start(server.command(archiving.environ), log=tmp_path / "recovered.log")
    try:
        assert postgres.wait(server, process.child), process.log_text()
        again = BackupSite(server.url, tmp_path)
        wait_until(lambda: again.rows("SELECT pg_is_in_recovery()") == [(False,)], seconds=20)
        assert again.rows("SELECT count(*), max(n) FROM landing") == [(17, 17)]
    finally:
        process.terminate()
        process.wait()
    assert site.rows("SELECT count(*) FROM landing") == [(0,)], "the server itself was not touched"


def test_archive_never_replaces_a_segment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 64 + "\n")
    environ = {**os.environ, "NARU_PITR_DIR": str(tmp_path), "NARU_BACKUP_KEY_FILE": str(tmp_path / "key")}

    def script(name: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(PITR / name), *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=patient(30), check=False)

    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(os.urandom(1000))
    other.write_bytes(os.urandom(1000))
    assert script("archive.sh", str(one), "0000").returncode == 0
    assert script("archive.sh", str(one), "0000").returncode == 0
    refused = script("archive.sh", str(other), "0000")
    assert (refused.returncode, "its own NARU_PITR_DIR" in refused.stderr) == (1, True)
    assert script("fetch.sh", "0000", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == one.read_bytes()
    assert script("fetch.sh", "0001", str(tmp_path / "none")).returncode == 1, "the end of the archive"


def test_restore_uses_the_last_base_ended_before_the_target(tmp_path: Path) -> None:
    bases = tmp_path / "base"
    bases.mkdir()
    (tmp_path / "key").write_text("k" * 64 + "\n")
    environ = {**os.environ, "NARU_PITR_DIR": str(tmp_path), "NARU_BACKUP_KEY_FILE": str(tmp_path / "key")}
    content = tmp_path / "tar"
    subprocess.run(["tar", "--create", f"--file={content}", "--files-from=/dev/null"], check=True)
    first, long, unnamed = (
        bases / f"base-{times}.tar.enc"
        for times in ("20261101T000000Z-20261101T000100Z", "20261108T000000Z-20261108T020000Z", "20261115T000000Z")
    )
    for base in (first, long, unnamed):
        cipher = "openssl enc -aes-256-ctr -md sha256 -pbkdf2 -iter 10000 -pass"
        words = [*cipher.split(), f"file:{tmp_path / 'key'}", "-in", str(content), "-out", str(base)]
        subprocess.run(words, check=True, timeout=patient(30))
    written = datetime(2026, 11, 15, 1, tzinfo=UTC).timestamp()
    os.utime(unnamed, (written, written))
    for number, (moment, expected) in enumerate(
        {
            "2026-11-01 00:00:59.9+00": None,
            "2026-11-01 00:01:00+00": first,
            "2026-11-08 01:59:59+00": first,
            "2026-11-08 04:00:00+02": long,
            "2026-11-15 00:59:59+00": long,
            "2026-11-15 01:00:01+00": unnamed,
        }.items()
    ):
        command = [str(PITR / "recover.sh"), moment, str(tmp_path / f"into{number}")]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=patient(30), check=False)
        assert (done.returncode == 0) is (expected is not None), done.stderr
        assert expected is None or expected.name in done.stdout, moment
