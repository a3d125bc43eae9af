"""The previous version of Naru, for a roll from it to this one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deploy.embedded.processes import ROOT
from tests.faults.rig import CannotInject

#: The last commit without lanes, and with migration 0002 as its newest.
COMMIT = "c3b7653"


def unpacked(folder: Path) -> Path:
    """Return the source tree of the previous version, unpacked in `folder`. Raises CannotInject without its history."""
    tree = folder / "previous"
    if not tree.exists():
        made = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
        if made.returncode != 0:
            raise CannotInject(f"this clone lacks commit {COMMIT}: git fetch --unshallow")
        tree.mkdir()
        subprocess.run(["tar", "-x"], cwd=tree, input=made.stdout, check=True)
    return tree
