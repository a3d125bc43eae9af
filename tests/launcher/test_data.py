"""The data folder: one holder, secrets that stay, damage that is explained."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy.local.data import DataFolder, DataProblem, Running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with closing(DataFolder(tmp_path)) as made:
        yield made


@pytest.fixture
def again(tmp_path: Path, folder: DataFolder) -> Iterator[DataFolder]:
    """The same folder, as another process opens it."""
    with closing(DataFolder(tmp_path)) as made:
        yield made


def test_one_process_holds_it(folder: DataFolder, again: DataFolder) -> None:
    assert folder.take()
    assert not again.take()
    folder.close()
    assert again.take()


def test_secrets_are_made_once_and_are_nobody_elses(folder: DataFolder, again: DataFolder) -> None:
    made, new = folder.secrets()
    assert new
    assert again.secrets() == (made, False)
    assert stat.S_IMODE((folder.path / "secrets.json").stat().st_mode) == 0o600
    assert len(set(asdict(made).values())) == 4


def test_damaged_secrets_are_explained(folder: DataFolder) -> None:
    (folder.path / "secrets.json").write_text("{")
    with pytest.raises(DataProblem, match="damaged"):
        folder.secrets()


def test_what_runs_is_told_to_others(folder: DataFolder, again: DataFolder) -> None:
    assert folder.running() is None
    here = Running(url="http://x", lines=["one"], environ={"REDIS_URL": "redis://x"})
    folder.set_running(here)
    assert again.running() == here
    assert stat.S_IMODE((folder.path / "running.json").stat().st_mode) == 0o600
    folder.set_running(None)
    assert folder.running() is None


def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataProblem, match="--data DIR"):
        DataFolder(tmp_path / "file" / "below")
