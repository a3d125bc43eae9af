"""Readers of deploy/monitoring: the rules, the boards' expressions, and the metrics that an expression names.

The rules are parsed line by line, in the layout that their files keep, because we depend on no YAML library. promtool
and Prometheus read the files themselves (test_rules.py, test_live.py).
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from deploy.embedded.processes import ROOT
from tests.conftest import STRICT

MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOK = ROOT / "docs" / "operations" / "alerts.md"
_BEGIN = re.compile(r"^      - (alert|record): (\S+)$", re.MULTILINE)
_EXPRESSION = re.compile(r"^        expr: (?:\|\n((?:          .*\n)+)|(.+)\n)", re.MULTILINE)
_NAME = re.compile(r"([a-zA-Z_:][\w:]*)(\s*\()?")
_WORDS = {"and", "or", "unless", "bool", "offset"}


@dataclass(frozen=True)
class Rule:
    """A rule, with its text from the file."""

    kind: str
    name: str
    text: str
    file: Path

    @property
    def expression(self) -> str:
        """Return its PromQL expression."""
        found = _EXPRESSION.search(self.text)
        assert found, f"{self.name} has no expression in the expected layout"
        return found[1] or found[2]

    def said(self, key: str) -> str:
        """Return the value of a label or annotation, or an empty string."""
        found = re.search(rf"\b{key}: ([^\n}}]+)", self.text)
        return found[1].strip() if found else ""


@cache
def rules() -> list[Rule]:
    """Return every rule of every file."""
    found = []
    for path in rule_files():
        text = path.read_text()
        begins = list(_BEGIN.finditer(text))
        ends = [each.start() for each in begins[1:]] + [len(text)]
        found += [
            Rule(begin[1], begin[2], text[begin.start() : end], path) for begin, end in zip(begins, ends, strict=True)
        ]
    return found


def alerts() -> list[Rule]:
    """Return the alerting rules."""
    return [rule for rule in rules() if rule.kind == "alert"]


def boards() -> dict[str, dict[str, object]]:
    """Return each board's JSON by file name."""
    return {
        path.stem: json.loads(path.read_text()) for path in sorted((MONITORING / "grafana/dashboards").glob("*.json"))
    }


def questions() -> list[tuple[str, str]]:
    """Return every expression of every panel, after the names of its board and panel."""
    found = []
    for name, board in boards().items():
        panels = board["panels"]
        assert isinstance(panels, list)
        found += [(f"{name}: {panel['title']}", target["expr"]) for panel in panels for target in panel["targets"]]
    return found


def metrics_in(expression: str) -> set[str]:
    """Return the names of the series that an expression reads."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\b\d[\d.]*\w*", " ", bare)
    return {name for name, call in _NAME.findall(bare) if not call and name not in _WORDS}


def program(name: str, *, package: str) -> str:
    """Return the path of a Debian program. Without it, skip the test, or fail it in strict mode."""
    found = shutil.which(name)
    if found is None:
        (pytest.fail if STRICT else pytest.skip)(f"no {name} here: apt install {package}")
    return str(found)


def rule_files() -> list[Path]:
    """Return the rule files that Prometheus loads."""
    return sorted((MONITORING / "rules").glob("*.yml"))
