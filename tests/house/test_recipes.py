"""Each recipe of CONTRIBUTING.md lists the files that name its example, and no others."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from deploy.embedded.processes import ROOT
from tests.house.recipes import PAPERS, covers, files, naming, recipes

SOURCE = ("shared/", "workers/", "web/", "deploy/", *PAPERS)
PAGES = (*SOURCE, "docs/")
#: Folders of deploy/ that serve every way to run Naru, and so need no page on how to deploy them.
PARTS = {"backup", "cli", "embedded", "images", "logging", "monitoring", "nginx"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An existing example of what a recipe adds, and how the source names it."""

    #: Values of NAME in the recipe's paths.
    names: tuple[str, ...]
    #: Matches the code of each file that concerns the example.
    words: str
    #: Matches a use of it; the recipe describes such places in words.
    used: str = ""
    #: Paths for which the recipe must be complete.
    scope: tuple[str, ...]
    #: Paths in which the same words mean something else.
    not_in: tuple[str, ...] = ()


EXAMPLES = {
    "Add a provider": Example(
        names=("openai", "anthropic"),
        words=r"(?i)openai|anthropic|claude|gpt-\d|\bsk-",
        scope=(*SOURCE, "tests/providers/"),
        not_in=("ARCHITECTURE.md",),  # its diagram names some
    ),
    "Add a setting": Example(
        names=("storage_patience_seconds",),
        words=r"(?i)storage_patience_seconds|\b(naru_)?system_prompt\b",
        used=r"settings\.(storage_patience_seconds|system_prompt)",
        scope=PAGES,
    ),
    "Add a column": Example(
        names=("0001_the_first_tables",),
        words=r"""(?<!lifecycle)\.finish\b(?!\()|\bfinish=|\bfinish: |\(['"]finish['"],""",
        scope=(*PAGES, "tests/shared/"),
        not_in=("workers/providers/", "workers/simulator/"),  # the provider's own `finish`
    ),
    "Add a sentence": Example(
        names=("bad_cookie",),
        words=r"notice\.bad_cookie|answer\.regenerate|답변 다시 생성",
        used=r"""(['"])(notice\.bad_cookie|answer\.regenerate)\1(?!:)""",
        scope=PAGES,
    ),
    "Add an event": Example(
        names=("kinds",),
        words=r"ROLE_CHANGED|role_changed",
        used=r"audit\.record\(connection, Kind\.ROLE_CHANGED",
        scope=PAGES,
    ),
    "Add a page": Example(
        names=("chat",),
        words=r"""web\.views\.chat|`views/chat/`|empty\.heading|\.st-key-empty|\bis_fresh\b|['"]ChatInput['"]""",
        used=r"""querySelector\([^)]*\)""",
        scope=(*PAGES, "tests/page/"),
    ),
    "Add a metric with an alert": Example(
        names=("queue",),
        words=r"naru_broker_away|BROKER_AWAY|BrokerAway",
        used=r"metrics\.BROKER_AWAY",
        scope=(*PAGES, "tests/monitoring/"),
    ),
    "Add a way to deploy": Example(
        names=("compose",),
        words=r"deploy[./]compose|operations/compose\.md|`compose/`",
        scope=(*PAGES, "tests/deploy/"),
    ),
}

each_recipe = pytest.mark.parametrize("title", EXAMPLES)


def places_of(title: str) -> list[str]:
    """Return the files and folders that the recipe lists."""
    return recipes()[title].places(EXAMPLES[title].names)


def named_by_example(title: str) -> set[str]:
    """Return the files that the recipe has to list."""
    example = EXAMPLES[title]
    found = naming(example.words, used=example.used)
    return {file for file in found if file.startswith(example.scope) and not file.startswith(example.not_in)}


@each_recipe
def test_recipe_lists_only_existing_files(title: str) -> None:
    existing = set(files())
    assert [place for place in places_of(title) if not any(covers(place, file) for file in existing)] == []


@each_recipe
def test_recipe_lists_every_file_that_names_its_example(title: str) -> None:
    places = places_of(title)
    assert sorted(file for file in named_by_example(title) if not any(covers(place, file) for place in places)) == []


@each_recipe
def test_recipe_lists_no_needless_file(title: str) -> None:
    named = named_by_example(title)
    assert [place for place in places_of(title) if not any(covers(place, file) for file in named)] == []


def test_every_way_to_deploy_has_its_page_and_its_row() -> None:
    ways = {path.name for path in (ROOT / "deploy").iterdir() if path.is_dir()} - PARTS - {"__pycache__"}
    rows = re.findall(r"\| \[docs/operations/([a-z0-9-]+)\.md\]", (ROOT / "README.md").read_text())
    assert ways <= set(rows)
    assert ways <= {path.stem for path in (ROOT / "docs" / "operations").glob("*.md")}


def test_every_recipe_has_an_example() -> None:
    with_steps = {title for title, recipe in recipes().items() if recipe.places(("",))}
    assert with_steps == set(EXAMPLES)
