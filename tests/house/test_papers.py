"""The docs: tables match the code, links resolve, and every test folder is listed."""

from __future__ import annotations

import re

import pytest

from deploy.embedded.processes import ROOT
from tests.house.tables import declared_metrics, metrics_table, settings_table


@pytest.mark.parametrize(
    ("paper", "name"),
    [("docs/metrics.md", "metrics"), ("README.md", "settings")],
)
def test_documented_table_matches_the_code(paper: str, name: str) -> None:
    table = {"settings": settings_table, "metrics": metrics_table}[name]()
    assert table in (ROOT / paper).read_text(), f"paste the output of: python -m tests.house.tables {name}"


def test_every_metric_is_explained_and_no_label_is_unbounded() -> None:
    unbounded = {"request_id", "conversation_id", "owner_id", "worker_id", "user", "error"}
    for metric in declared_metrics():
        assert len(metric._documentation) > 15, metric._name
        assert not unbounded & set(metric._labelnames), metric._name


def test_links_in_documents_resolve() -> None:
    papers = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "tests/README.md"]
    for paper in papers:
        for link in re.findall(r"\]\(([^)#]+)", paper.read_text()):
            assert "://" in link or (paper.parent / link).exists(), f"{paper.name}: {link}"


def test_architecture_document_stays_short() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 200


def test_readme_of_the_tests_lists_every_folder() -> None:
    tests = ROOT / "tests"
    listed = re.findall(r"^\| `(\w+)` \| ", (tests / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({each.parent.name for each in tests.glob("*/test_*.py")})
