"""The table in docs/security.md has every requirement, and each test that it names exists."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache

from deploy.embedded.processes import ROOT

PAPER = ROOT / "docs" / "security.md"
#: How many requirements of level 1 and 2 each section of ASVS 5.0 has; they are numbered from 1.
REQUIREMENTS = {
    "1.1": 2, "1.2": 9, "1.3": 11, "1.4": 3, "1.5": 2,
    "2.1": 3, "2.2": 3, "2.3": 4, "2.4": 1,
    "3.3": 4, "3.4": 6, "3.5": 5,
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4,
    "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2,
    "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1,
    "9.1": 3, "9.2": 4,
    "10.1": 2, "10.2": 2, "10.3": 4, "10.4": 11, "10.5": 5, "10.6": 2, "10.7": 3,
    "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3,
}  # fmt: skip
STATES = {"met", "partly", "gap", "not applicable"}
_ROW = re.compile(r"^\| (\d+\.\d+)\.(\d+)(?:–\1\.(\d+))? \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    numbers: tuple[str, ...]
    state: str
    proof: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """The file and the name of each test."""
        return _TEST.findall(self.proof)


def rows() -> list[Row]:
    """Return the lines of the table. A line may stand for several numbers: `10.3.1–10.3.4`."""
    found = []
    for section, first, last, _, state, proof in _ROW.findall(PAPER.read_text()):
        numbers = tuple(f"{section}.{number}" for number in range(int(first), int(last or first) + 1))
        found.append(Row(numbers, state, proof))
    return found


@cache
def exists(path: str, name: str) -> bool:
    """Whether the file has a test function of this name."""
    if not (ROOT / path).is_file():
        return False
    nodes = ast.parse((ROOT / path).read_text()).body
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in nodes)


def test_table_has_each_requirement_once() -> None:
    wanted = [f"{section}.{number}" for section, last in REQUIREMENTS.items() for number in range(1, last + 1)]
    assert sorted(number for row in rows() for number in row.numbers) == sorted(wanted)


def test_each_named_test_exists() -> None:
    named = {test for row in rows() for test in row.tests}
    assert len(named) > 100
    assert {test for test in named if not exists(*test)} == set()


def test_each_state_has_its_proof_or_its_gap() -> None:
    for row in rows():
        assert row.state in STATES, row
        if row.state == "met":
            assert row.tests or "](" in row.proof, f"{row.numbers}: name a test, or the document"
        else:
            words = re.sub(r"[\W\d_]+", " ", _TEST.sub("", row.proof)).split()
            assert len(words) >= 2, f"{row.numbers}: say what is missing, or why it does not apply"
