"""`./naru test` and `./naru bench`: the static checks, then pytest; the fault suite; the attacks; the containers; the
bench. All in an environment that leads to nothing of the person's.

What is checked is configured in pyproject.toml; the rules that no tool knows are tests in tests/house/.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.embedded.processes import ROOT
from shared.settings import environment
from shared.vendors import VENDORS

#: Beginnings of the variables that no test may read from a person's environment.
FOREIGN = (
    "DATABASE_URL",
    "REDIS_URL",
    "NARU_",
    "CELERY_",
    "FLOWER_",
    "PG",
    "STREAMLIT_",
    *(vendor.variables_begin for vendor in VENDORS if vendor.variables_begin),
)
#: What `./naru test NAME` runs instead of the tests.
SUITES = {"faults": "tests.faults", "attacks": "tests.attacks", "fuzz": "tests.fuzz", "deploy": "tests.deploy"}
STRICT = "NARU_TEST_STRICT"  # a missing browser is an error instead of a skip
# Three, also on two cores: much of the time is waiting for a lease or a timeout. In the tests' own order, the long ones
# come first and the quick ones fill the end.
SHARED_OUT = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
ALONE = ("-n", "--numprocesses", "-s", "--capture=no", "--pdb", "--collect-only", "--co", "-p", "--version")


def test(arguments: Sequence[str]) -> int:
    """Run everything; pytest's summary is the last line. 0 only when all of it passed."""
    environ = scrub(environment())
    # Pytest rewrites each test module and keeps the result: without, each of its processes takes 6 s more.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    failed = failed_checks(environ)
    command = [sys.executable, "-m", "pytest", *([] if wants_one_process(arguments) else SHARED_OUT), *arguments]
    if failed:
        command.append(f"--failed-checks={', '.join(failed)}")
    tests = subprocess.Popen(command, cwd=ROOT, env=environ)
    code = wait(tests)
    return code or (1 if failed else 0)


def suite(name: str, arguments: Sequence[str]) -> int:
    """Run one of `SUITES`; its exit code."""
    return run_module(SUITES[name], arguments)


def bench(arguments: Sequence[str]) -> int:
    """Run the bench; its exit code."""
    return run_module("tests.bench", arguments)


def run_module(name: str, arguments: Sequence[str]) -> int:
    """One of the programs in `tests`, in the scrubbed environment; its exit code."""
    return wait(subprocess.Popen([sys.executable, "-m", name, *arguments], env=scrub(environment()), cwd=ROOT))


def scrub(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that could lead a test to a server, key or setting of the person's."""
    return {name: value for name, value in environ.items() if not name.startswith(FOREIGN) or name == STRICT}


def failed_checks(environ: Mapping[str, str]) -> list[str]:
    """Run the static checks side by side; say how each went; the names of those that failed."""
    programs = Path(sys.executable).parent
    checks = {
        "ruff check": [str(programs / "ruff"), "check", "--quiet", "."],
        "ruff format": [str(programs / "ruff"), "format", "--check", "--quiet", "."],
        "mypy": [str(programs / "mypy")],
        "import rules": [str(programs / "lint-imports"), "--no-cache"],
    }
    failed = []
    with ThreadPoolExecutor(len(checks)) as threads:
        began = time.monotonic()
        running = {name: threads.submit(run_check, command, environ) for name, command in checks.items()}
        for name, result in running.items():
            code, output = result.result()
            print(f"{name:<13} {'ok' if code == 0 else 'FAILED'}  {time.monotonic() - began:.1f} s", flush=True)
            if code != 0:
                print(output, flush=True)
                failed.append(name)
    return failed


def run_check(command: Sequence[str], environ: Mapping[str, str]) -> tuple[int, str]:
    """One check's exit code and output."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def wants_one_process(arguments: Sequence[str]) -> bool:
    """Whether pytest is asked for something that needs the terminal, or how to share out is said already."""
    return any(argument.startswith(ALONE) for argument in arguments)


def wait(tests: subprocess.Popen[bytes]) -> int:
    """Its exit code; Ctrl-C is its to handle."""
    while True:
        try:
            return tests.wait()
        except KeyboardInterrupt:
            continue
