"""Backup and restore of the real product: everything is destroyed, and the answers come back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg2
import pytest
from playwright.sync_api import Browser, expect

from deploy.backup import commands
from deploy.backup.key import key_from, make_key
from deploy.backup.locate import server_at
from deploy.backup.server import Server
from shared.conversations import open_conversation
from shared.migrations.__main__ import migrate
from shared.people import Owner
from shared.postgres.database import make_engine
from shared.settings import load_settings
from tests.backup.site import BackupSite, is_reached, kept_signal, naru
from tests.page.person import visitor
from tests.stack import Stack, wait_until


@pytest.fixture
def kept(stack: Stack, tmp_path: Path) -> Stack:
    """Return a stack whose backups are encrypted with a key in a file."""
    make_key(tmp_path / "key")
    stack.configure(backup_dir=tmp_path / "shelf")
    stack.values["NARU_BACKUP_KEY_FILE"] = str(tmp_path / "key")
    return stack


@pytest.fixture
def at_hand(kept: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Yield the same stack for commands that run in this process."""
    for name, value in kept.values.items():
        monkeypatch.setenv(name, value)
    with kept_signal():
        yield kept


def test_ask_back_up_destroy_restore_ask_again(kept: Stack, tmp_path: Path) -> None:
    kept.start_simulator()
    kept.start_worker()
    asked = json.loads(naru(kept, "ask", "Where is the landing?", "--json").stdout)
    backed_up = naru(kept, "backup")
    assert backed_up.returncode == 0, backed_up.stderr
    assert key_from((tmp_path / "key").read_text().strip()).secret not in backed_up.stdout + backed_up.stderr

    BackupSite(kept.database_url, tmp_path).execute(
        f"DROP DATABASE {Server(kept.database_url).database} WITH (FORCE)", database="postgres"
    )
    assert not is_reached(kept.database_url)
    restored = naru(kept, "restore", "newest")
    assert restored.returncode == 0, restored.stderr

    engine = make_engine(kept.settings, name="test")
    try:
        opened = open_conversation(engine, UUID(asked["conversation_id"]), owner=Owner.terminal())
    finally:
        engine.dispose()
    assert [message.text for message in opened.messages] == ["Where is the landing?", asked["text"]]
    again = json.loads(naru(kept, "ask", "And now?", "--json").stdout)  # by the worker that survived the restore
    assert (again["status"], again["attempts"]) == ("succeeded", 1)


@pytest.mark.browser
def test_page_shows_the_answer_again_and_continues(at_hand: Stack, browser: Browser, tmp_path: Path) -> None:
    at_hand.start_simulator()
    at_hand.start_worker()
    url = at_hand.start_web().url
    with visitor(browser, url) as person:
        person.open().ask("Show me the landing")
        person.wait_for_end()
        answer, address = person.answers.inner_text(), person.page.url
        assert commands.backup(tmp_path, at=None) == 0
        BackupSite(at_hand.database_url, tmp_path).execute("TRUNCATE conversation CASCADE")
        person.open(address)
        expect(person.answers).to_have_count(0)
        assert commands.restore_from(tmp_path, "newest", grants=True) == 0
        wait_until(lambda: person.open(address).answers.count() == 1, seconds=30)
        assert person.answers.inner_text() == answer
        person.ask("And now?")
        person.wait_for_end(answers=2)


def test_stopped_naru_is_backed_up_and_restored(
    at_hand: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    embedded = load_settings({})
    with server_at(data, embedded, make=True) as server:
        migrate(server.url)
        BackupSite(server.url, tmp_path).fill()
    monkeypatch.setenv("DATABASE_URL", "")
    assert commands.backup(data, at=None) == 0
    made = BackupSite("", tmp_path).shelf.all()[0]
    assert made.tables["message"] == 20
    with server_at(data, embedded) as server:
        recorded = BackupSite(server.url, tmp_path).rows("SELECT kind, actor, details FROM audit_event")
    assert recorded == [("backup_made", "terminal", {"backup": made.name})]

    shutil.rmtree(data)
    assert commands.restore_from(data, made.name, grants=True) == 0
    with server_at(data, embedded) as server:
        assert BackupSite(server.url, tmp_path).counts() == made.tables
    with pytest.raises(psycopg2.OperationalError):  # the server is stopped again
        psycopg2.connect(server.url, connect_timeout=3)


def test_drill_proves_the_newest_and_touches_nothing(
    at_hand: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = BackupSite(at_hand.database_url, tmp_path)
    site.fill()
    assert commands.backup(tmp_path, at=None) == 0
    site.execute("DELETE FROM message")
    for here in (False, True):
        assert commands.restore_drill(tmp_path, at=None, here=here) == 0, capsys.readouterr().err
        assert "can be restored" in capsys.readouterr().out
    assert site.counts()["message"] == 0
    assert site.databases() == set()
    file = tmp_path / "shelf" / "naru_restore_drill.prom"
    figures = file.read_text()
    assert "naru_restore_drill_failed 0.0" in figures

    made = site.shelf.all()[0]
    content = site.shelf.path(made).read_bytes()
    site.shelf.path(made).write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    assert commands.restore_drill(tmp_path, at=None, here=False) == 1
    assert "was changed after" in capsys.readouterr().err
    after = file.read_text()
    assert "naru_restore_drill_failed 1.0" in after
    last = "naru_restore_drill_last_success_timestamp_seconds"
    assert [line for line in after.splitlines() if line.startswith(last)] == [
        line for line in figures.splitlines() if line.startswith(last)
    ]
    assert not (tmp_path / "shelf" / ".drill").exists()


def test_commands_suggest_the_next_step(
    at_hand: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NARU_BACKUP_KEY", "")
    assert commands.backup(tmp_path, at=None) == 0, "empty is unset, and the file is there"
    assert commands.show(tmp_path) == 0
    assert "1 backup in" in capsys.readouterr().out
    assert commands.new_key(tmp_path / "another") == 0
    assert "Copy it now" in capsys.readouterr().out
    monkeypatch.setenv("NARU_BACKUP_KEY_FILE", str(tmp_path / "another"))
    assert commands.restore_from(tmp_path, "newest", grants=True) == 1
    told = capsys.readouterr().err
    assert "made with another key" in told
    assert "Naru's data is as it was" in told
    assert commands.restore_from(tmp_path, "naru-20200101T000000Z", grants=True) == 1
    assert "--list" in capsys.readouterr().err
    monkeypatch.delenv("NARU_BACKUP_KEY_FILE")
    assert commands.backup(tmp_path, at=None) == 1
    assert "--new-key" in capsys.readouterr().err
    assert "naru_backup_failed 1.0" in (tmp_path / "shelf" / "naru_backup.prom").read_text()
    assert commands.restore_drill(tmp_path, at=None, here=False) == 1
    assert "--new-key" in capsys.readouterr().err
    assert commands.undo(tmp_path, "") == 1
    assert "there is no kept database." in capsys.readouterr().err
    assert commands.forget(tmp_path, "postgres") == 1
    assert "Nothing was dropped" in capsys.readouterr().err
