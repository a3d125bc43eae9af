"""The HTML document: Streamlit's, plus our name, our stylesheet, preloads for the first page, and the skeleton.

If a new version of Streamlit lacks a part replaced here, `tests/web/test_static.py` fails and the page still works.
"""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from html import escape
from pathlib import Path

from shared.words import LOCALES, Words
from web.asgi.representation import FixedContent
from web.live.modules import EARLY, bundle, colours, live_address, shell_bundle
from web.shell.chunks import STREAMLIT, first_page, late
from web.shell.stylesheet import stylesheet

HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / ".streamlit" / "config.toml"
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_FONT_PRELOAD = re.compile(r"<link\s+rel=\"preload\"[^>]*/SourceSans[^>]*>\s*")
_STYLESHEET = re.compile(r"<link rel=\"stylesheet\"[^>]*/static/css/index\.[^>]*>\s*")
_COLOURS = {
    "ground": "backgroundColor",
    "side": "sidebar",
    "ink": "textColor",
    "faint": "secondaryBackgroundColor",
    "line": "borderColor",
    "accent": "primaryColor",
}


@cache
def document(locale: str, *, is_conversation: bool) -> FixedContent:
    """Return the page in this language. For a conversation it includes the script that follows a running answer."""
    html = (STREAMLIT / "index.html").read_text(encoding="utf-8")
    html = _STYLESHEET.sub("", _FONT_PRELOAD.sub("", html))
    html = html.replace('<html lang="en">', f'<html lang="{locale}">')
    html = html.replace("<title>Streamlit</title>", f"{_scripts(is_conversation=is_conversation)}<title>Naru</title>")
    head = "".join(f'<link rel="modulepreload" crossorigin href="./{path}">\n' for path in first_page())
    head += f'<link rel="modulepreload" href="{live_address()}">\n<link rel="manifest" href="./manifest.json">\n'
    head += f"<style>{skeleton_style()}</style><noscript><style>#naru-skeleton {{ display: none }}</style></noscript>\n"
    html = html.replace("</head>", f"{head}</head>")
    placeholder = escape(Words(locale).t("composer.placeholder"), quote=True)
    skeleton = _read("skeleton.html").replace("{placeholder}", placeholder)
    # In the head, the stylesheet would delay the first paint of the skeleton.
    sheet = f'<link rel="stylesheet" href="./page.css?v={page_css().version}">\n'
    html = html.replace("<body>", f"<body>\n{skeleton}<script>{skeleton_script()}</script>\n{sheet}")
    return FixedContent(html, "text/html")


@cache
def early_script() -> FixedContent:
    """Return the module that shows a running answer before Streamlit does."""
    return FixedContent(bundle(EARLY), "text/javascript")


@cache
def shell_script() -> FixedContent:
    """Return the module for everything around the conversation: the list, the theme switch, Streamlit's own texts."""
    return FixedContent(shell_bundle(), "text/javascript")


@cache
def live_script() -> FixedContent:
    """Return the module of the live answer, which Streamlit mounts (`web/live/component.py`)."""
    return FixedContent(bundle(), "text/javascript")


@cache
def colours_script() -> FixedContent:
    """Return the module that colours the live answer's code."""
    return FixedContent(colours(), "text/javascript")


@cache
def page_css() -> FixedContent:
    """Return the page's stylesheet."""
    return FixedContent(stylesheet(), "text/css")


def prepare() -> None:
    """Make and compress every file before the first visitor needs it."""
    documents = [document(locale, is_conversation=each) for locale in LOCALES for each in (False, True)]
    for held in (*documents, shell_script(), early_script(), live_script(), colours_script(), page_css()):
        held.compress("br")


def inline_scripts() -> list[str]:
    """Return the inline scripts, for their hashes in the security policy. They are the same in every language."""
    return [*INLINE_SCRIPT.findall((STREAMLIT / "index.html").read_text(encoding="utf-8")), skeleton_script()]


@cache
def skeleton_script() -> str:
    """Return the skeleton's script, with the addresses of the files to load when idle."""
    return _read("skeleton.js").replace("[/* late */]", json.dumps([f"./{path}" for path in late()]))


@cache
def skeleton_style() -> str:
    """Return the skeleton's style, with the theme's colours."""
    theme = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"]
    light, dark = (_colours(theme[name]) for name in ("light", "dark"))
    colours = "".join(f"--{name}: light-dark({light[name]}, {dark[name]}); " for name in _COLOURS)
    return _read("skeleton.css").replace("/* colours */", colours)


def _colours(theme: dict[str, str | dict[str, str]]) -> dict[str, str]:
    """Return one theme's colours by the skeleton's names."""
    found = {}
    for name, option in _COLOURS.items():
        value = theme[option]
        found[name] = value["backgroundColor"] if isinstance(value, dict) else value
    return found


def _scripts(*, is_conversation: bool) -> str:
    # Ours come before Streamlit's, since modules run in document order.
    scripts = {"shell": shell_script(), **({"early": early_script()} if is_conversation else {})}
    tags = [f'<script type="module" src="./{name}.js?v={held.version}"></script>' for name, held in scripts.items()]
    return "".join(f"{tag}\n    " for tag in tags)


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
