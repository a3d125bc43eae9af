"""The recipes of CONTRIBUTING.md, and a search for the files whose code matches a pattern."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deploy.embedded.processes import ROOT

#: Folders and files that a recipe must list completely; of `tests/` a recipe names only the places that matter.
PRODUCT = ("shared", "workers", "web", "deploy", "docs/operations", "docs/metrics.md", "docs/glossary.md")
PAPERS = ("README.md", "ARCHITECTURE.md", "docker-compose.yml", "pyproject.toml")
#: Folders of third-party or generated files.
LEFT_OUT = {"vendor", "static", "__pycache__"}
SUFFIXES = {".py", ".js", ".css", ".html", ".json", ".yml", ".conf", ".toml", ".sh", ".sql", ".md"}
HASH_COMMENTS = {".yml", ".conf", ".toml", ".sh"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe of CONTRIBUTING.md."""

    title: str
    text: str

    def places(self, names: tuple[str, ...]) -> list[str]:
        """Return the files and folders of its numbered list, as paths from the root with each of `names` for NAME."""
        steps = re.findall(r"^\d+\. (.+(?:\n +.+)*)", self.text, re.MULTILINE)
        paths = [each for step in steps for each in re.findall(r"`([^`\s]+)`", step) if is_path(each)]
        return [path.replace("NAME", name) for path in paths for name in (names if "NAME" in path else names[:1])]


def is_path(text: str) -> bool:
    """Return whether the text in backquotes is a path from the root, not code or a command."""
    return text in PAPERS or ("/" in text and (ROOT / text.split("/", maxsplit=1)[0]).is_dir())


def covers(place: str, file: str) -> bool:
    """Return whether a place of a recipe is the file, or a folder with the file in it."""
    return file.startswith(place) if place.endswith("/") else file == place


def recipes() -> dict[str, Recipe]:
    """Return every recipe by title."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("\n## Recipes\n")[1].split("\n## ")[0]
    parts = [part.partition("\n") for part in text.split("\n### ")[1:]]
    return {title: Recipe(title, body) for title, _, body in parts}


def files() -> Iterator[str]:
    """Yield every text file of ours, tests included, as a path from the root."""
    for name in (*PRODUCT, "tests", *PAPERS):
        found = [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*"))
        for path in found:
            if path.suffix in SUFFIXES and path.is_file() and not LEFT_OUT & set(path.parts):
                yield path.relative_to(ROOT).as_posix()


def naming(words: str, *, used: str = "") -> set[str]:
    """Return the files whose code matches `words` outside the uses that `used` matches."""
    found = set()
    for file in files():
        if re.search(words, raw(file)):
            text = re.sub(used, "", code(file)) if used else code(file)
            if re.search(words, text):
                found.add(file)
    return found


@cache
def raw(file: str) -> str:
    """Return the text of a file."""
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def code(file: str) -> str:
    """Return the text of a file without comments and docstrings."""
    suffix = Path(file).suffix
    if suffix in HASH_COMMENTS:
        return re.sub(r"(^|\s)#.*", "", raw(file))
    if suffix != ".py":
        return raw(file)
    tree = ast.parse(raw(file))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    return ast.unparse(tree)
