"""A backup's content, and what each failure leaves behind."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deploy.backup.problem import BackupProblem
from deploy.backup.retention import Keep
from deploy.embedded.processes import ROOT
from tests.backup.site import BackupSite
from tests.faults.proxy import Lines
from tests.patience import patient
from tests.stack import Servers

VERSIONS = ROOT / "shared" / "migrations" / "versions"


def test_backup_is_complete_private_and_encrypted(site: BackupSite) -> None:
    site.execute("UPDATE message SET content = 'the secret landing'")
    made = site.take()
    assert made.tables == site.counts()
    assert made.tables["message"] == 20
    assert site.shelf.find("newest") == made
    file = site.shelf.path(made)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    newest = max(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))
    assert (made.size, made.schema, made.postgres_major) == (file.stat().st_size, newest, 18)
    assert file.read_bytes()[:8] == b"Salted__"
    assert site.plain(made)[:5] == b"PGDMP"
    assert sorted(path.name for path in site.shelf.folder.iterdir()) == [
        ".lock",
        f"{made.name}.dump.enc",
        f"{made.name}.json",
    ]


def test_openssl_alone_decrypts_a_backup(site: BackupSite, tmp_path: Path) -> None:
    """docs/operations/backup.md promises this: in ten years there may be no Naru."""
    made = site.take()
    (tmp_path / "key").write_text(site.key.secret + "\n")
    opened = subprocess.run(
        [*made.cipher.split(), "-d", "-pass", f"file:{tmp_path / 'key'}", "-in", str(site.shelf.path(made))],
        capture_output=True,
        timeout=patient(30),
        check=True,
    )
    assert opened.stdout == site.plain(made)


def test_manifest_counts_match_the_dumps_snapshot(site: BackupSite) -> None:
    site.fill(rows=3000)
    writing, done = threading.Event(), threading.Event()

    def write() -> None:
        with site.server.connected() as connection, connection.cursor() as cursor:
            while not done.is_set():
                cursor.execute(
                    "INSERT INTO worker (id, host, pid, version, slots, models, lease_expires_at) "
                    "VALUES (gen_random_uuid(), 'h', 1, 'v', 1, '[]', now())"
                )
                writing.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert writing.wait(10)
        made = site.take()
    finally:
        done.set()
        thread.join()
    assert 0 < made.tables["worker"] < site.counts()["worker"]
    site.restore(made)  # compares the restored counts with the manifest's
    assert site.counts() == made.tables


def test_backup_refuses_a_second_run_and_removes_leftovers(site: BackupSite) -> None:
    left = site.shelf.partial("naru-20260101T000000Z.dump.enc")
    left.write_bytes(b"half")
    with site.shelf.held():
        assert not left.exists()
        with pytest.raises(BackupProblem, match="another backup"):
            site.take()
    site.take()


def test_second_backup_within_a_second_gets_its_own_name(site: BackupSite) -> None:
    made = [site.take() for _ in range(4)]
    assert len({each.name for each in made}) == 4
    assert site.shelf.all() == made[::-1]


#: In a new mount namespace, makes the folder a disk of 64 KB.
TINY_DISK = 'mount -t tmpfs -o size=64k tmpfs "$1" && shift && exec "$@"'
TAKE = """
import sys
from pathlib import Path
from tests.backup.site import BackupSite
from deploy.backup.problem import BackupProblem
site = BackupSite(sys.stdin.readline().strip(), Path(sys.argv[1]))
site.shelf.path(type("", (), {"file": "older"})()).write_bytes(b"older")
try:
    site.take()
except BackupProblem as problem:
    print(problem)
print(sorted(path.name for path in site.shelf.folder.iterdir()))
"""


def on_a_tiny_disk(folder: Path) -> tuple[list[str], bool]:
    """Return a command prefix that makes `folder` a tiny disk, and whether that works here."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", TINY_DISK, "sh", str(folder)]
    try:
        return command, subprocess.run([*command, "true"], capture_output=True, timeout=patient(20)).returncode == 0
    except OSError:
        return [], False


def test_backup_leaves_no_files_on_a_full_disk(site: BackupSite, tmp_path: Path) -> None:
    site.fill(rows=1000)
    command, is_disk = on_a_tiny_disk(tmp_path)
    done = subprocess.run(
        [*(command if is_disk else []), sys.executable, "-c", TAKE, str(tmp_path)],
        input=site.url,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(60),
        preexec_fn=None if is_disk else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)),
    )
    assert "is full" in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "['.lock', 'older']"


def test_backup_leaves_no_files_when_the_server_dies(site: BackupSite, servers: Servers) -> None:
    older = site.take()
    site.fill(rows=4000, size=3200)
    lines = Lines()
    try:
        proxy = lines.proxy(servers.postgres_server.port)
        url = site.url.replace(f":{servers.postgres_server.port}/", f":{proxy.port}/")
        proxy.set(cut_after=2_000_000)
        with pytest.raises(BackupProblem):
            site.take(url=url)
        assert proxy.cut_after is None, "the dump had begun to arrive"
    finally:
        lines.close()
    assert site.shelf.all() == [older]
    assert not list(site.shelf.folder.glob("*.partial"))
    site.shelf.prune(Keep(daily=0, weekly=0, monthly=0))
    assert site.shelf.all() == [older]


def test_backup_refuses_a_database_without_naru(servers: Servers, tmp_path: Path) -> None:
    with pytest.raises(BackupProblem, match="holds no tables of Naru"):
        BackupSite(servers.postgres_server.url_of("postgres"), tmp_path).take()
