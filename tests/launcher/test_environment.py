"""Every part of `up` gets the variables that it reads, and no others."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from deploy.embedded.environment import MORE, READERS, Part, environment_of, readers_of
from deploy.embedded.locate import with_providers_file
from deploy.embedded.processes import ROOT
from shared.settings import Settings, variable_of
from shared.vendors import WITH_KEY

SETTINGS = {each.name: each for each in fields(Settings)}
PARTS: tuple[Part, ...] = get_args(Part)
#: Variables that a user may have in the shell, but no part may get.
FOREIGN = {"AWS_SECRET_ACCESS_KEY": "canary", "GITHUB_TOKEN": "canary", "BROKER_URL": "canary", "APP": "canary"}


def settings_read_in(folder: str) -> set[str]:
    """Return the settings that the sources of a folder read."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / folder).rglob("*.py")]
    found = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {node.attr for node in found if ast.unparse(node.value).endswith("settings")} & set(SETTINGS)


def test_every_setting_has_a_part_that_reads_it() -> None:
    assert set(READERS) <= set(SETTINGS), "a setting no longer exists"
    for name in SETTINGS:
        assert readers_of(name), name
        assert readers_of(name) <= set(PARTS), name


def test_secrets_name_their_readers() -> None:
    for name, each in SETTINGS.items():
        assert not each.metadata["secret"] or name in READERS or readers_of(name) == {"launcher"}, name


@pytest.mark.parametrize(("folder", "part"), [("web", "web"), ("workers", "worker")])
def test_every_setting_reaches_the_code_that_reads_it(folder: str, part: Part) -> None:
    found = settings_read_in(folder)
    assert len(found) > 5
    for name in found:
        assert part in readers_of(name), f"{folder}/ reads {name}"


@pytest.mark.parametrize("part", PARTS)
def test_part_gets_its_settings_and_nothing_else(part: Part) -> None:
    variables = {variable_of(name): name for name in SETTINGS}
    given = FOREIGN | dict.fromkeys(variables, "x") | {f"{each}_FILE": "x" for each in variables}
    seen = environment_of(part, given)
    assert not FOREIGN.keys() & seen.keys()
    for variable, name in variables.items():
        reads = part in readers_of(name)
        # The vendors' own libraries read variables with the vendors' prefix.
        if not reads and not variable.startswith(tuple(vendor.variables_begin for vendor in WITH_KEY)):
            assert variable not in seen
            assert f"{variable}_FILE" not in seen or f"{variable}_FILE" in MORE.get(part, ())
        if reads:
            assert {variable, f"{variable}_FILE"} <= seen.keys()


def test_system_variables_pass_and_proxies_reach_workers_only() -> None:
    system = ("PATH", "HOME", "TZ", "LC_ALL", "SSL_CERT_FILE", "PYTHONPATH", "LD_LIBRARY_PATH")
    proxies = ("HTTPS_PROXY", "https_proxy", "NO_PROXY")
    given = dict.fromkeys((*system, *proxies), "x")
    for part in PARTS:
        seen = environment_of(part, given)
        assert set(system) <= seen.keys(), part
        assert (set(proxies) <= seen.keys()) == (part == "worker"), part
        assert part in MORE or seen.keys() == set(system), part


def test_proxies_reach_web_with_company_sign_in() -> None:
    given = {"HTTPS_PROXY": "x", "no_proxy": "y"}
    for auth, expected in (("oidc", given), ("local+oidc", given), ("local", {}), ("guest", {})):
        seen = environment_of("web", {**given, "NARU_AUTH": auth})
        assert {name: value for name, value in seen.items() if name in given} == expected


def test_no_program_gets_the_full_environment() -> None:
    """A program with the user's full environment would know every secret."""
    for path in (path for room in ("cli", "embedded", "backup") for path in (ROOT / "deploy" / room).glob("*.py")):
        for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in {"env", "environ"} and isinstance(node.value, ast.Call):
                assert ast.unparse(node.value) not in {"environment()", "dict(environment())"}, path


def test_key_variables_of_the_file_reach_the_worker_only(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text('[providers.a]\nkind = "openai"\nkey_variable = "GROQ_API_KEY"\n')
    given = {"NARU_PROVIDERS_FILE": str(path), "GROQ_API_KEY": "canary", "OTHER_API_KEY": "canary"}
    assert environment_of("worker", given) == {"NARU_PROVIDERS_FILE": str(path), "GROQ_API_KEY": "canary"}
    assert environment_of("web", given) == {}


def test_file_beside_the_data_folder_is_found(tmp_path: Path) -> None:
    data, beside = tmp_path / ".naru", tmp_path / "providers.toml"
    assert with_providers_file({}, data) == {}
    beside.write_text("")
    assert with_providers_file({}, data) == {"NARU_PROVIDERS_FILE": str(beside)}
    assert with_providers_file({"NARU_PROVIDERS_FILE": "/x"}, data) == {"NARU_PROVIDERS_FILE": "/x"}
