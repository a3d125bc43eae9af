"""The fixture of the backup tests; the rig behind it is yard.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backup.yard import Yard


@pytest.fixture
def yard(database_url: str, tmp_path: Path) -> Yard:
    """A database with something in it."""
    made = Yard(database_url, tmp_path)
    made.fill()
    return made
