"""`./naru test` and `./naru bench`: the static checks and pytest, the other suites, and the bench.

They run without the settings in the user's environment. pyproject.toml configures the checks; rules that no tool checks
are tests in tests/house/.
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

#: Prefixes of the variables that no test may read from the user's environment.
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
#: The module that `./naru test NAME` runs instead of pytest.
SUITES = {name: f"tests.{name}" for name in ("faults", "attacks", "fuzz", "deploy", "servers")}
STRICT = "NARU_TEST_STRICT"  # a missing browser is an error instead of a skip
# Four processes, even on two cores: tests often wait for a lease or a timeout, and with three the cores idle for a
# quarter of the run. The order of the files is kept, because the long ones come first and the quick ones fill the end.
SHARED_OUT = ("-n", "4", "--dist", "loadfile", "--no-loadscope-reorder")
ALONE = ("-n", "--numprocesses", "-s", "--capture=no", "--pdb", "--collect-only", "--co", "-p", "--version")


def test(arguments: Sequence[str]) -> int:
    """Run the checks and pytest, whose summary comes last; return 0 only if everything passed."""
    environ = scrub(environment())
    # Pytest caches its rewritten test modules. Without the cache, each of its processes takes 6 s longer.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    failed = failed_checks(environ)
    command = [sys.executable, "-m", "pytest", *([] if wants_one_process(arguments) else SHARED_OUT), *arguments]
    if failed:
        command.append(f"--failed-checks={', '.join(failed)}")
    tests = subprocess.Popen(command, cwd=ROOT, env=environ)
    code = wait(tests)
    return code or (1 if failed else 0)


def suite(name: str, arguments: Sequence[str]) -> int:
    """Run one of `SUITES`; return its exit code."""
    return run_module(SUITES[name], arguments)


def bench(arguments: Sequence[str]) -> int:
    """Run the bench; return its exit code."""
    return run_module("tests.bench", arguments)


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Run a program of `tests` in the scrubbed environment; return its exit code."""
    return wait(subprocess.Popen([sys.executable, "-m", name, *arguments], env=scrub(environment()), cwd=ROOT))


def scrub(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the user's settings."""
    return {name: value for name, value in environ.items() if not name.startswith(FOREIGN) or name == STRICT}


def failed_checks(environ: Mapping[str, str]) -> list[str]:
    """Run the static checks in parallel, print the results, and return the names of those that failed."""
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
    """Run one check; return its exit code and output."""
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
    """Return whether pytest needs the terminal, or the arguments already set the number of processes."""
    return any(argument.startswith(ALONE) for argument in arguments)


def wait(tests: subprocess.Popen[bytes]) -> int:
    """Wait for the exit code. The child handles Ctrl-C."""
    while True:
        try:
            return tests.wait()
        except KeyboardInterrupt:
            continue
