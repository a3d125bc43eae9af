"""The data folder has one holder, keeps its secrets, and explains damage."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy.embedded.data import DataFolder, DataProblem, Running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with closing(DataFolder(tmp_path)) as made:
        yield made


@pytest.fixture
def again(tmp_path: Path, folder: DataFolder) -> Iterator[DataFolder]:
    """Yield the same folder as another process would open it."""
    with closing(DataFolder(tmp_path)) as made:
        yield made


def test_data_folder_is_locked_by_one_process(folder: DataFolder, again: DataFolder) -> None:
    assert folder.lock()
    assert not again.lock()
    folder.close()
    assert again.lock()


def test_secrets_are_made_once_and_stay_private(folder: DataFolder, again: DataFolder) -> None:
    made, new = folder.secrets()
    assert new
    assert again.secrets() == (made, False)
    assert stat.S_IMODE((folder.path / "secrets.json").stat().st_mode) == 0o600
    assert len(set(asdict(made).values())) == 4


def test_damaged_secrets_are_explained(folder: DataFolder) -> None:
    (folder.path / "secrets.json").write_text("{")
    with pytest.raises(DataProblem, match="damaged"):
        folder.secrets()


def test_data_folder_shares_the_running_instance(folder: DataFolder, again: DataFolder) -> None:
    assert folder.running() is None
    here = Running(url="http://x", lines=["one"], environ={"REDIS_URL": "redis://x"})
    folder.set_running(here)
    assert again.running() == here
    assert stat.S_IMODE((folder.path / "running.json").stat().st_mode) == 0o600
    folder.set_running(None)
    assert folder.running() is None


def test_unwritable_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataProblem, match="--data DIR"):
        DataFolder(tmp_path / "file" / "below")


def modes(folder: Path) -> dict[str, int]:
    """Return the mode of everything below a folder, by relative path."""
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


def test_open_folder_and_its_files_become_private(folder: DataFolder) -> None:
    folder.path.chmod(0o755)
    (folder.logs / "web.log").touch(mode=0o644)
    folder.logs.chmod(0o755)
    secret = folder.path.parent / "elsewhere"
    secret.touch(mode=0o644)
    secret.chmod(0o644)
    (folder.path / "flower" / "link").symlink_to(secret)
    assert len(folder.close_to_others()) == 2
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert not [name for name, mode in modes(folder.path).items() if mode & 0o077 and name != "flower/link"]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644, "the target of a link is not ours"
    assert folder.close_to_others() == [], "nothing is left to close"


def test_folder_with_foreign_files_is_left_alone(folder: DataFolder) -> None:
    folder.path.chmod(0o755)
    folder.logs.chmod(0o755)
    (folder.path / "letters").mkdir(mode=0o755)
    [line] = folder.close_to_others()
    assert "such as letters" in line
    assert "--data DIR" in line
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o755
    assert stat.S_IMODE(folder.logs.stat().st_mode) == 0o755


def test_data_folder_in_a_home_keeps_its_mode(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.path.chmod(0o755)
    monkeypatch.setattr(Path, "home", lambda: folder.path)
    [line] = folder.close_to_others()
    assert "it is a home" in line
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o755
