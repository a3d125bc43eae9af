"""Findings of `./naru doctor` about weak keys and refused host names."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from deploy.cli.findings import Level
from deploy.cli.security import cookie_keys, hosts
from deploy.embedded.data import DataFolder, Running
from shared.settings import Settings
from tests.stack import Stack
from tests.web.clients import ask

STRONG, WEAK = "s" * 40, "short"


def test_doctor_reports_refused_hosts(stack: Stack, tmp_path: Path) -> None:
    web = stack.start_web()
    with closing(DataFolder(tmp_path)) as folder:
        folder.set_running(Running(url=web.url, lines=[], environ={}))
        assert list(hosts(Settings(), tmp_path)) == []
        ask(web.url, "/", host="naru.lan")
        (found,) = hosts(Settings(), tmp_path)
    assert (found.level, "1 requests" in found.what) == (Level.HINT, True)
    assert "NARU_ALLOWED_HOSTS" in found.to_do
    (found,) = hosts(Settings(allowed_hosts="a.example, *"), tmp_path / "none")
    assert "every name" in found.what


def test_doctor_reports_weak_keys(tmp_path: Path) -> None:
    assert list(cookie_keys(Settings(), tmp_path)) == []
    for keys, level in ((STRONG, Level.GOOD), (f"{STRONG},{WEAK}", Level.HINT), (f"{WEAK},{STRONG}", Level.WRONG)):
        (found,) = cookie_keys(Settings(secret_key=keys), tmp_path)
        assert found.level is level, found
        assert WEAK not in found.what.replace("shorter", "")
    with closing(DataFolder(tmp_path)) as folder:
        made, _ = folder.secrets()
    (found,) = cookie_keys(Settings(), tmp_path)
    assert found.level is Level.GOOD
    assert made.secret_key not in found.what
    (tmp_path / "secrets.json").write_text(json.dumps({}))
    (found,) = cookie_keys(Settings(), tmp_path)
    assert (found.level, "damaged" in found.what) == (Level.WRONG, True)
