"""Tests of the results and their table: runs add up, a repeated shot counts once, each count has a column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults import report, soak
from tests.faults.checker import ZERO
from tests.faults.run import Store


def shot(index: int, *, seed: int = 1, fault: str = "1", wrong: str = "", number: int = 0) -> dict[str, Any]:
    return {
        "fault": fault,
        "seed": seed,
        "index": index,
        "accepted": 6,
        "succeeded": 6,
        "extra_calls": 3,
        "recovery": [float(index)],
        "figures": {"accept": [0.1 * index]},
        "exits": {},
        "counts": dict.fromkeys(ZERO, 0) | ({wrong: number} if wrong else {}),
        "findings": [[wrong, "r", "x"]] if wrong else [],
    }


def test_interrupted_run_resumes_and_counts_each_shot_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.jsonl")
    store.add(shot(0))
    store.add({"fault": "1", "seed": 1, "index": 1, "error": "it broke off"})
    store.add(shot(2, seed=2))
    assert store.done("1", 1) == {0}
    assert not report.is_clean(store.results())
    store.add(shot(1))
    assert store.done("1", 1) == {0, 1}
    assert report.is_clean(store.results())
    assert report.line("1", store.results())[2:4] == ("3", "18")


def test_counts_have_a_column_and_affect_the_exit_code() -> None:
    for kind in ZERO:
        results = [shot(0, wrong=kind, number=2)]
        columns = report.line("1", results)[4:8]
        assert sorted(columns) == ["0", "0", "0", "2"], kind
        assert not report.is_clean(results)
    assert report.is_clean([shot(0), shot(0, fault="1 textbook", wrong="lost", number=3)])


def test_table_names_the_faults_that_could_not_be_injected() -> None:
    results = [{"fault": "17", "seed": 1, "index": -1, "cannot": "no small disk"}]
    assert "no small disk" in report.markdown(results)


def test_slope_ignores_the_warm_up() -> None:
    samples = {"worker 1": [(float(at), 0.0, 100 + (50 if at < 100 else at / 36), 20.0) for at in range(0, 1000, 10)]}
    found = soak.slopes(samples, after=100)
    assert found["worker 1"]["pss an hour"] == 100
    assert found["worker 1"]["descriptors an hour"] == 0
    assert soak.grows({"slopes": found}) == ["worker 1"]
    assert "PSS 103 → 128 MB" in report.grown(found)["worker 1: memory and descriptors"]
