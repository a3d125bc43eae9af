"""`./naru keys`: a new key signs, older ones verify for a while, and no key is shown or lost."""

from __future__ import annotations

import json
import stat
import threading
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.cli import keys
from deploy.cli.main import main
from deploy.embedded.data import DataFolder
from shared.keys import is_strong, key_id, keys_in
from web.asgi.cookies import Cookies


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder that `up` has used."""
    with closing(DataFolder(tmp_path)) as folder:
        folder.secrets()
    return tmp_path


def kept(data: Path) -> tuple[str, ...]:
    """Return the keys in the folder."""
    return keys_in(json.loads((data / "secrets.json").read_text())["secret_key"])


def test_rotate_adds_a_key_and_keeps_the_rest(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((data / "secrets.json").read_text())
    assert main(["keys", "rotate", "--data", str(data)]) == 0
    after = json.loads((data / "secrets.json").read_text())
    new, old = kept(data)
    assert old == before["secret_key"]
    assert is_strong(new)
    assert {name: after[name] for name in after if name != "secret_key"} == {
        name: before[name] for name in before if name != "secret_key"
    }
    assert stat.S_IMODE((data / "secrets.json").stat().st_mode) == 0o600
    said = capsys.readouterr().out
    assert key_id(new) in said
    assert new not in said
    assert old not in said


def test_browsers_survive_a_rotation_and_drop_revokes(data: Path) -> None:
    browser_id = uuid4()
    cookie = "=".join(Cookies(",".join(kept(data))).make(browser_id))
    assert keys.rotate(data) == 0
    assert Cookies(",".join(kept(data))).read([cookie], is_tls=False).browser_id == browser_id
    assert keys.drop(data) == 0
    assert len(kept(data)) == 1
    assert Cookies(",".join(kept(data))).read([cookie], is_tls=False).browser_id is None


def test_old_keys_are_dropped_after_three_rotations(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = kept(data)[0]
    for _ in range(keys.KEPT_KEYS):
        assert keys.rotate(data) == 0
    assert len(kept(data)) == keys.KEPT_KEYS
    assert first not in kept(data)
    assert f"Dropped: {key_id(first)}" in capsys.readouterr().out


def test_concurrent_rotations_lose_no_key(data: Path) -> None:
    rotations = [threading.Thread(target=keys.rotate, args=(data,)) for _ in range(2)]
    first = kept(data)[0]
    for each in rotations:
        each.start()
    for each in rotations:
        each.join()
    assert len(kept(data)) == 3
    assert kept(data)[-1] == first


def test_rotate_explains_a_set_key_and_a_missing_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "rotate", "--data", str(tmp_path / "nothing")]) == 1
    assert "./naru up creates them" in capsys.readouterr().err
    monkeypatch.setenv("NARU_SECRET_KEY", "k" * 40)
    before = kept(data)
    assert main(["keys", "rotate", "--data", str(data)]) == 1
    assert "put it and a comma before the present value" in capsys.readouterr().err
    assert kept(data) == before
