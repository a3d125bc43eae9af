"""The environment that `./naru` makes, tested on a copy of the launcher with a small lock and local wheels."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.cli.bootstrap import TEST_PART
from deploy.embedded.processes import ROOT
from tests.patience import patient
from tests.stack import wait_until

SAYS_WHERE = "import sys, some_package; print('cli', sys.prefix, sys.argv[1:], some_package.__file__)"


def make_wheel(folder: Path, name: str) -> str:
    """Make a wheel with one module and return its line for a lock."""
    dashed = name.replace("_", "-")
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {dashed}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        f"{len(text)}\n"
        for path, text in files.items()
    )
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return f"{dashed}==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


class Clone:
    """A copy of the launcher whose command line only prints that it was reached."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a clone"
        wheels = folder / "wheels"
        wheels.mkdir()
        commands = self.root / "deploy" / "cli"
        commands.mkdir(parents=True)
        for name in ("naru", "deploy/cli/bootstrap.py", "deploy/__init__.py", "deploy/cli/__init__.py"):
            shutil.copy(ROOT / name, self.root / name)
        (commands / "main.py").write_text(SAYS_WHERE)
        run, test = make_wheel(wheels, "some_package"), make_wheel(wheels, "some_tool")
        self.lock = self.root / "requirements.lock"
        self.lock.write_text(f"{run}\n{TEST_PART}\n{test}")
        self.environment = self.root / ".naru-env"
        self.environ = {
            **os.environ,
            "PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": wheels.as_uri(),
        }

    def naru(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run ./naru from another folder."""
        command = [str(self.root / "naru"), *arguments]
        return subprocess.run(
            command, cwd="/", env=self.environ | environ, capture_output=True, text=True, timeout=patient(120)
        )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, subprocess.CompletedProcess[str]]:
    """Return a clone and the result of the command that made its environment."""
    clone = Clone(tmp_path_factory.mktemp("made"))
    return clone, clone.naru("up", "--port", "0")


@pytest.fixture(scope="module")
def made(first_run: tuple[Clone, subprocess.CompletedProcess[str]]) -> Clone:
    """Return the same clone, for tests that leave it with an environment."""
    return first_run[0]


def test_bootstrap_makes_the_environment_once(
    first_run: tuple[Clone, subprocess.CompletedProcess[str]],
) -> None:
    clone, first = first_run
    assert "Installing" in first.stderr
    assert first.stdout.startswith(f"cli {clone.environment} ['up', '--port', '0']")
    second = clone.naru("up")
    assert (second.returncode, second.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["--help"], 0, "everything on this machine"),
        (["up", "--help"], 0, "--flower-port"),
        (["test", "tests/launcher", "-h"], 0, "pytest"),
        (["pu"], 2, "invalid choice: 'pu'"),
        ([], 2, "required: COMMAND"),
    ],
)
def test_bootstrap_answers_with_the_available_python(clone: Clone, words: list[str], code: int, shown: str) -> None:
    # Only these modules are there, and they may import only the standard library.
    commands = (
        "deploy/cli/main.py",
        "deploy/terminal.py",
        "deploy/embedded/__init__.py",
        "deploy/embedded/processes.py",
    )
    for name in (*commands, "shared/__init__.py", "shared/vendors.py"):
        (clone.root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, clone.root / name)
    said = clone.naru(*words)
    assert (said.returncode, shown in said.stdout + said.stderr) == (code, True), said.stderr
    assert "Traceback" not in said.stderr
    assert not clone.environment.exists()


def test_bootstrap_passes_arguments_that_look_like_options(made: Clone) -> None:
    assert made.naru("ask", "--", "--help").stdout.startswith(f"cli {made.environment} ")


def test_bootstrap_adds_the_test_part_when_needed(made: Clone) -> None:
    assert made.naru("up").returncode == 0
    assert not list(made.environment.glob("lib/*/site-packages/some_tool.py"))
    assert made.naru("test").returncode == 0
    assert list(made.environment.glob("lib/*/site-packages/some_tool.py"))
    assert made.naru("up").stderr == ""


def test_bootstrap_extends_an_environment_without_pip(clone: Clone) -> None:
    assert clone.naru("up").returncode == 0
    for path in clone.environment.glob("lib/*/site-packages/pip*"):
        shutil.rmtree(path)
    added = clone.naru("test")
    assert added.returncode == 0, added.stderr
    assert list(clone.environment.glob("lib/*/site-packages/some_tool.py"))


def test_incomplete_environment_is_remade(clone: Clone) -> None:
    (clone.environment / "bin").mkdir(parents=True)
    (clone.environment / "bin" / "python").write_text("half")
    assert clone.naru("up").returncode == 0


def test_concurrent_bootstraps_do_not_collide(clone: Clone) -> None:
    command = [str(clone.root / "naru"), "up"]
    both = [
        subprocess.Popen(command, env=clone.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    output = [process.communicate(timeout=patient(120)) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("Installing" in errors for _, errors in output) == 1


def test_bootstrap_keeps_an_environment_in_use(made: Clone) -> None:
    assert made.naru("up").returncode == 0
    (made.root / "deploy" / "cli" / "main.py").write_text("import time; print('up', flush=True); time.sleep(60)")
    running = subprocess.Popen([str(made.root / "naru"), "up"], env=made.environ, stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    made.lock.write_text(f"# changed\n{made.lock.read_text()}")
    try:
        refused = made.naru("up")
        assert refused.returncode == 1
        assert "a running naru still uses the environment" in refused.stderr
    finally:
        running.kill()
        running.wait()
        running.stdout.close()
    (made.root / "deploy" / "cli" / "main.py").write_text(SAYS_WHERE)
    assert "Installing" in made.naru("up").stderr


def test_bootstrap_waits_for_a_concurrent_install(clone: Clone) -> None:
    with (clone.root / ".naru-env.making").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [str(clone.root / "naru"), "up"], env=clone.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert waiting.stderr is not None
        assert wait_until(waiting.stderr.readline) == "Another naru is installing; waiting for it …\n".encode()
    waiting.communicate(timeout=patient(120))
    assert waiting.returncode == 0


def test_bootstrap_rejects_a_package_with_another_hash(clone: Clone) -> None:
    clone.lock.write_text(clone.lock.read_text().replace("sha256:", "sha256:0000", 1))
    refused = clone.naru("up")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1]
    assert not (clone.environment / "made.json").exists()


def test_error_names_a_platform_without_a_package(clone: Clone) -> None:
    clone.lock.write_text("nobody-made-this==1.0 --hash=sha256:" + "0" * 64 + "\n")
    refused = clone.naru("up")
    assert refused.returncode == 1
    assert "there is no ready-made package for" in refused.stderr
    assert "nobody-made-this" in refused.stderr


def test_bootstrap_names_the_required_python(made: Clone, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "dirname", "readlink", "head", "cut"):
        (programs / name).symlink_to(str(shutil.which(name)))
    old = programs / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" || exit 1\n')
    old.chmod(0o755)
    refused = made.naru("up", PATH=str(programs))
    assert refused.returncode == 1
    assert "Python 3.11 or newer is needed; found: Python 3.9.2." in refused.stderr

    named = made.naru("up", PATH=str(programs), PYTHON=sys.executable)
    assert named.returncode == 0, named.stderr


def test_error_names_the_package_for_a_python_without_venv(clone: Clone, tmp_path: Path) -> None:
    bare = tmp_path / "bare" / "bin" / "python3"  # a Python as Debian ships it without python3-venv
    bare.parent.mkdir(parents=True)
    shutil.copy(Path(sys.base_prefix) / "bin" / "python3", bare)
    library = tmp_path / "bare" / "lib" / f"python3.{sys.version_info.minor}"
    source = Path(os.__file__).parent
    shutil.copytree(source, library, ignore=shutil.ignore_patterns("ensurepip", "site-packages", "test", "__pycache__"))
    refused = clone.naru("up", PYTHON=str(bare), LD_LIBRARY_PATH=str(Path(sys.base_prefix) / "lib"))
    assert refused.returncode == 1
    assert "has no venv module" in refused.stderr
