"""requirements.lock is hashed and complete, names no registry, and has the two parts that bootstrap.py expects."""

from __future__ import annotations

import re
import tomllib

from deploy.cli.bootstrap import LOCK, TEST_PART
from deploy.cli.lock import ENTRY
from deploy.embedded.processes import ROOT

TEXT = LOCK.read_text()
RUN, TEST = TEXT.split(f"\n{TEST_PART}\n")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(part: str) -> set[str]:
    """Return the packages of one part."""
    return {match["name"] for match in ENTRY.finditer(part)}


def wanted(requirements: list[str]) -> set[str]:
    """Return the packages that these requirements name."""
    return {re.split(r"[\[<>=; ]", requirement, maxsplit=1)[0] for requirement in requirements}


def test_lock_names_no_registry() -> None:
    assert not re.search(r"https?:|://|--index|--find-links|--extra", TEXT)


def test_every_package_is_pinned_and_hashed() -> None:
    assert all("--hash=sha256:" in match.group(0) for match in ENTRY.finditer(TEXT))
    assert len(list(ENTRY.finditer(TEXT))) == TEXT.count("==") - TEXT.count("python_full_version == ") - TEXT.count(
        "' == "
    ) - len(re.findall(r"(?:platform|python)\w* == ", TEXT))


def test_each_part_holds_what_pyproject_names() -> None:
    assert wanted(PROJECT["project"]["dependencies"]) <= names(RUN)
    assert wanted(PROJECT["dependency-groups"]["test"]) <= names(TEST)


def test_runtime_lock_has_no_test_tools() -> None:
    assert not names(RUN) & {"pytest", "ruff", "mypy", "playwright", "hypothesis"}
