"""`./naru bench` reaches the bench and rejects unknown figures."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.cli import bootstrap
from deploy.cli import main as cli
from deploy.embedded.processes import ROOT
from tests.patience import patient
from tests.stack import Stack

COMMAND = (sys.executable, "-P", "-m", "deploy.cli.main", "bench")


def run(*words: str, stack: Stack) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        (*COMMAND, *words), env=stack.environ(), cwd=ROOT, capture_output=True, text=True, timeout=patient(60)
    )


def test_bench_help_lists_its_options(stack: Stack) -> None:
    done = run("--help", stack=stack)
    assert done.returncode == 0
    for word in ("./naru bench", "--quick", "--only", "--curves", "--json", "first-text"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("words", "known"),
    [(("--only", "speed"), "first-text"), (("--curves", "--only", "first-text"), "table-rows")],
)
def test_unknown_figure_is_refused_at_once(words: tuple[str, ...], known: str, stack: Stack) -> None:
    done = run(*words, stack=stack)
    assert done.returncode == 2
    assert words[-1] in done.stderr
    assert known in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_bench(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "./naru bench" in capsys.readouterr().out


def test_bench_environment_has_the_test_tools() -> None:
    assert "bench" in bootstrap.WITH_TEST_PART
