"""House rules that no linter checks. pyproject.toml has the import rules; ruff checks docstrings and names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from deploy.embedded.processes import ROOT

FOLDERS = ("shared", "workers", "web", "deploy", "tests")
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
LONGEST_TEST_NAME = 60
ASSERTIONS = {"expect", "pytest.raises", "pytest.warns"}
#: bootstrap.py runs with the standard library alone, before shared.settings can be imported.
MAY_READ_THE_ENVIRONMENT = {"shared/settings/reading.py", "deploy/cli/bootstrap.py"}
ENVIRONMENT = {"environ", "environb", "getenv", "putenv"}
MAY_NAME_SESSION_STATE = "web/state/"


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NAMES = sorted(p.relative_to(ROOT).as_posix() for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


@cache
def modules() -> dict[str, ast.Module]:
    """Return every Python file of ours, parsed."""
    return {name: ast.parse((ROOT / name).read_text(), filename=name) for name in NAMES}


def product() -> Iterator[tuple[str, ast.Module]]:
    """Yield the modules that are not tests."""
    return ((name, tree) for name, tree in modules().items() if not name.startswith("tests/"))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return a function's lines, without decorators."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def test_modules_stay_within_the_line_limit() -> None:
    long = {name: n for name in modules() if (n := (ROOT / name).read_text().count("\n")) > LONGEST_MODULE}
    assert not long


def test_functions_stay_within_the_line_limit() -> None:
    functions = (
        (name, node)
        for name, tree in product()
        if "/migrations/versions/" not in name  # a revision is one list of statements
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert not {f"{name}:{node.name}": length(node) for name, node in functions if length(node) > LONGEST_FUNCTION}


def test_no_test_name_is_too_long() -> None:
    names = {node.name for tree in modules().values() for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}
    assert not {name for name in names if name.startswith("test_") and len(name) > LONGEST_TEST_NAME}


def has_visible_assertion(test: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a test asserts, expects an exception or warning, or calls `expect` in its own body."""
    called = {ast.unparse(node.func) for node in ast.walk(test) if isinstance(node, ast.Call)}
    return bool(called & ASSERTIONS) or any(isinstance(node, ast.Assert) for node in ast.walk(test))


def test_tests_have_a_visible_assertion() -> None:
    tests = (
        (name, node)
        for name, tree in modules().items()
        if name.startswith("tests/")
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and node.name.startswith("test_")
    )
    assert not [f"{name}:{node.name}" for name, node in tests if not has_visible_assertion(node)]


def test_streamlit_finds_no_pages_beside_its_script() -> None:
    assert not (ROOT / "web" / "pages").exists(), "Streamlit would offer each file in it as a separate page"


def test_no_module_has_a_catch_all_name() -> None:
    assert not [name for name in modules() if Path(name).stem in DRAWERS or DRAWERS & set(Path(name).parts[:-1])]


def test_modules_have_docstrings() -> None:
    assert not [name for name, tree in modules().items() if not ast.get_docstring(tree)]


def reads_environment(tree: ast.Module) -> bool:
    """Return whether a module names os.environ or os.getenv in any form."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT and ast.unparse(node.value) == "os":
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "os" and ENVIRONMENT & {a.name for a in node.names}:
            return True
    return False


def test_one_package_reads_the_environment() -> None:
    assert {name for name, tree in product() if reads_environment(tree)} <= MAY_READ_THE_ENVIRONMENT


def test_only_web_state_names_session_state() -> None:
    naming = {
        name
        for name, tree in product()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "session_state"
    }
    assert naming
    assert all(name.startswith(MAY_NAME_SESSION_STATE) for name in naming), naming


REDIS_MAKERS = {
    "from_url",
    "from_pool",
    "Redis",
    "StrictRedis",
    "RedisCluster",
    "ConnectionPool",
    "BlockingConnectionPool",
}
ENGINE_MAKERS = {"create_engine", "create_async_engine", "engine_from_config"}


def calls_of(names: set[str], tree: ast.Module) -> list[int]:
    """Return the lines that call one of these names, plain or as an attribute, or import it under another name."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            lines += [node.lineno] if called in names else []
        if isinstance(node, ast.ImportFrom):
            lines += [node.lineno for alias in node.names if alias.name in names and alias.asname]
    return lines


def test_redis_clients_are_made_in_one_module() -> None:
    made = {name for name, tree in product() if calls_of(REDIS_MAKERS, tree)}
    assert made == {"shared/redis.py"}, "use make_client or make_async_client of shared/redis.py"


def test_engines_are_made_in_one_package() -> None:
    made = {name for name, tree in product() if calls_of(ENGINE_MAKERS, tree)}
    assert made == {"shared/postgres/database.py"}, "use an engine of shared/postgres/database.py"
