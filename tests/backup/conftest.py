"""The fixture of the backup tests: a `BackupSite`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backup.site import BackupSite


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> BackupSite:
    """Return a site whose database has rows."""
    made = BackupSite(database_url, tmp_path)
    made.fill()
    return made
