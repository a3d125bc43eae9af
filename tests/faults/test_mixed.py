"""A short mixed round: runs some of the nemesis's strikes under a small load, and expects no violation."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults import mixed
from tests.faults.checker import ZERO

SECONDS, PER_SECOND = 30.0, 2.0


@pytest.mark.timeout(600)
def test_random_faults_under_load_cause_no_violation(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    result = mixed.mixed(tmp_path / "rig", seed=seed, seconds=SECONDS, rate=PER_SECOND, workers=2, pauses=(0.5, 1.5))
    said = f"seed {seed}; strikes {result['strikes']}; {result['findings']}; {result['broken_visits']}"
    assert result["counts"] == dict.fromkeys(ZERO, 0), said
    assert not result["broken_visits"], said
    assert result["succeeded"] > SECONDS * PER_SECOND / 2, said
