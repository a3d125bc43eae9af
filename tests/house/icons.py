"""`python -m tests.house.icons`: remake the page's icon font from Streamlit's, with the icons that names.txt lists.

Streamlit's font holds 4,000 icons in 375 kB, and the page shows a few dozen. To add one, add its name to names.txt.
Only this needs fontTools: `uv run --with fonttools --with brotli python -m tests.house.icons`.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import streamlit

from deploy.embedded.processes import ROOT

ICONS = ROOT / "web" / "static" / "fonts" / "icons"
NAMES = ICONS / "names.txt"
FONT = ICONS / "MaterialSymbolsRounded.subset.woff2"
STREAMLIT = Path(streamlit.__file__).with_name("static") / "static"
#: An icon's name is written in these and drawn as one ligature; fonts.load() asks for the blank.
LETTERS = " _abcdefghijklmnopqrstuvwxyz0123456789"
ICON = re.compile(r":material/([a-z0-9_]+):")


def listed() -> set[str]:
    """Return the icons that the font must hold."""
    return set(NAMES.read_text(encoding="utf-8").split())


def named_in(folder: Path, *patterns: str) -> set[str]:
    """Return every icon that a file below the folder names."""
    files = (path for pattern in patterns for path in folder.rglob(pattern))
    return {name for path in files for name in ICON.findall(path.read_text(encoding="utf-8"))}


def ligatures(font: Any) -> dict[str, str]:
    """Return each icon's glyph by name."""
    letter_of = {glyph: chr(code) for code, glyph in font.getBestCmap().items()}
    found = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for subtable in (getattr(each, "ExtSubTable", each) for each in lookup.SubTable):
            for first, rules in subtable.ligatures.items():
                for rule in rules:
                    name = "".join(letter_of[glyph] for glyph in (first, *rule.Component))
                    found[name] = rule.LigGlyph
    return found


def main() -> None:
    """Write the font."""
    subset, ttlib = importlib.import_module("fontTools.subset"), importlib.import_module("fontTools.ttLib")
    font = ttlib.TTFont(next((STREAMLIT / "media").glob("MaterialSymbols-Rounded*.woff2")))
    glyphs = ligatures(font)
    if unknown := listed() - set(glyphs):
        raise SystemExit(f"Streamlit's font has no icon named {', '.join(sorted(unknown))}")
    options = subset.Options(layout_closure=False, layout_features=["rlig"], glyph_names=False, hinting=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(glyphs=[glyphs[name] for name in sorted(listed())], text=LETTERS)
    subsetter.subset(font)
    font.flavor = "woff2"
    font.save(FONT)
    print(f"{FONT.name}: {len(listed())} icons, {FONT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
