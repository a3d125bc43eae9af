"""Small pages of one sentence: unknown address, unknown host, too many new browsers.

They load nothing but the icon, so they work without Streamlit and its files.
"""

from __future__ import annotations

from html import escape

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse

from shared.words import Words, best_locale

#: Read no more of Accept-Language: honest headers name a handful of languages, hostile ones may be huge.
_LONGEST_ACCEPT_LANGUAGE = 200
_PAGE = """<!DOCTYPE html>
<html lang="{locale}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}<title>{title} · {name}</title>
<style>
:root {{ color-scheme: light dark; --accent: light-dark(#0b6e69, #5cc4bc); }}
body {{ display: grid; place-items: center; min-height: 100vh; margin: 0; padding: 16px; box-sizing: border-box;
  background: light-dark(#ffffff, #151918); color: light-dark(#1b2222, #e7ebea);
  font: 16px/1.65 'Pretendard Variable', Pretendard, system-ui, sans-serif; word-break: keep-all; }}
main {{ max-width: 440px; }}
h1 {{ margin: 0 0 8px; font-size: 24px; line-height: 1.35; }}
p {{ margin: 0 0 24px; }}
code {{ overflow-wrap: anywhere; }}
a {{ display: inline-block; padding: 0 20px; border-radius: 10px; background: var(--accent);
  color: light-dark(#ffffff, #151918); line-height: 44px; text-decoration: none; }}
a:focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px; }}
</style>
</head>
<body><main><h1>{title}</h1>{body}</main></body>
</html>
"""


def words_for(headers: Headers, *, chosen: str | None = None) -> Words:
    """Return the words in the language chosen on the page, or else in the browser's first supported language."""
    accepted = headers.get("accept-language", "")[:_LONGEST_ACCEPT_LANGUAGE].split(",")
    return Words(best_locale(chosen, *(each.partition(";")[0].strip() for each in accepted)))


def sentence_page(words: Words, *, status: int, title: str, body: str, head: str = "") -> HTMLResponse:
    """Return the page. `body` and `head` are HTML; the title is text."""
    html = _PAGE.format(
        locale=words.locale, name=escape(words.t("app.name")), title=escape(title), body=body, head=head
    )
    return HTMLResponse(html, status_code=status, headers={"cache-control": "no-store"})
