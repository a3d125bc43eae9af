"""Readers of configuration files for tests: YAML as Python values, with compose's defaults filled in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded.processes import ROOT

#: Debian's Python has PyYAML wherever docker-compose is installed; ours needs it for nothing else.
PYTHONS = (sys.executable, "/usr/bin/python3")
CONVERT = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def missing(what: str) -> None:
    """Skip the test, or fail it if NARU_TEST_STRICT=1."""
    (pytest.fail if os.environ.get("NARU_TEST_STRICT") == "1" else pytest.skip)(what)


@cache
def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    """Return the compose file with every `${NAME:-default}` at its default."""
    found: dict[str, Any] = filled(yaml((ROOT / name).read_text()))
    return found


def filled(value: Any) -> Any:
    """Return a parsed value with every variable in its strings at its default, as compose does."""
    if isinstance(value, dict):
        return {key: filled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each) for each in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: found[2] or "", value.replace("$$", "\0")).replace("\0", "$")
    return value


def yaml(text: str) -> Any:
    """Parse YAML with the first Python that has PyYAML."""
    for python in PYTHONS:
        if Path(python).exists():
            done = subprocess.run([python, "-c", CONVERT], input=text, capture_output=True, text=True, timeout=60)
            if done.returncode == 0:
                return json.loads(done.stdout)
            if "No module named 'yaml'" not in done.stderr:
                raise AssertionError(done.stderr[-1000:])
    missing("no Python here reads YAML: apt install python3-yaml")
    raise AssertionError


def seconds(text: str) -> float:
    """Return the seconds in a compose duration: `930s`, `1m30s`, `2h`."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))
