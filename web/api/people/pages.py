"""The HTML of the account's pages. Everything that comes from a person is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import NaruError, TooManySignIns, Unavailable
from shared.mail import MailFailed
from shared.people.refusals import SignInUnreachable
from shared.words import Words
from web.api.people import passwords
from web.api.people.forms import path_to
from web.asgi.sentence_page import sentence_page
from web.runtime import current_runtime

_STYLE = """<style>
main { width: 100%; max-width: 400px; }
form { margin: 0 0 24px; }
label, .hint { display: block; }
label { margin: 0 0 4px; font-weight: 600; }
.hint { margin: 4px 0 0; color: light-dark(#5a6462, #a3adab); font-size: 14px; }
.entry { margin: 0 0 16px; }
input { width: 100%; box-sizing: border-box; padding: 0 12px; border: 1px solid light-dark(#8a9391, #6d7674);
  border-radius: 10px; background: light-dark(#ffffff, #1d2221); color: inherit; font: inherit; line-height: 44px;
  height: 46px; }
input[readonly] { color: light-dark(#5a6462, #a3adab); }
input:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
button { padding: 0 20px; border: 0; border-radius: 10px; background: var(--accent);
  color: light-dark(#ffffff, #151918); font: inherit; line-height: 44px; cursor: pointer; }
button.quiet { border: 1px solid light-dark(#8a9391, #6d7674); background: none; color: inherit; }
button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
a.quiet { padding: 0; background: none; color: var(--accent); text-decoration: underline; }
.error, .done { padding: 10px 14px; border-radius: 10px; }
.error { background: light-dark(#fdecea, #3a1f1d); color: light-dark(#8c1d18, #f5b8b3); }
.banner { padding: 10px 14px; border-radius: 10px; background: light-dark(#fdf3df, #33290f); overflow-wrap: anywhere; }
.done { background: light-dark(#e6f4f2, #17302d); }
h2 { margin: 32px 0 8px; font-size: 18px; }
ul { margin: 0 0 16px; padding: 0; list-style: none; }
li { display: flex; gap: 12px; align-items: center; justify-content: space-between; padding: 8px 0;
  border-bottom: 1px solid light-dark(#e2e6e5, #2c3331); overflow-wrap: anywhere; }
li form { margin: 0; }
.qr svg { display: block; max-width: 100%; height: auto; margin: 0 0 8px; border-radius: 10px; }
.codes li { display: inline-block; width: 50%; box-sizing: border-box; border: 0; }
@media (max-width: 420px) { .codes li { width: 100%; } }
li strong, li button { white-space: nowrap; }
</style>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One box of a form. `name` is also its autocomplete unless that is given."""

    name: str
    label: str
    kind: str = "text"
    autocomplete: str = ""
    value: str = ""
    hint: str = ""
    #: The id on the page, where it has another box of this name.
    box_id: str = ""
    #: It shows its value, which nobody can change.
    is_fixed: bool = False

    def html(self, *, is_first: bool) -> str:
        """Return the label, the box and the hint."""
        box_id = self.box_id or self.name
        hint_id = f"{box_id}-hint"
        hint = f'<span class="hint" id="{hint_id}">{escape(self.hint)}</span>' if self.hint else ""
        described = f' aria-describedby="{hint_id}"' if self.hint else ""
        state = " readonly" if self.is_fixed else " autofocus" if is_first else ""
        return (
            f'<div class="entry"><label for="{box_id}">{escape(self.label)}</label>'
            f'<input id="{box_id}" name="{self.name}" type="{self.kind}" required maxlength="256"'
            f' autocomplete="{self.autocomplete or self.name}" value="{escape(self.value, quote=True)}"'
            f"{described}{state}>{hint}</div>"
        )


def page(words: Words, title: str, body: str, *, request: Request, status: int = 200) -> Response:
    """Return a page with this title and body (HTML)."""
    icon = f'<link rel="icon" href="{escape(path_to(request, "/favicon.png"), quote=True)}" type="image/svg+xml">\n'
    return sentence_page(words, status=status, title=title, body=_banner(words) + body, head=icon + _STYLE)


def _banner(words: Words) -> str:
    banner = current_runtime().banners.latest
    return f'<p class="banner" role="status">{escape(banner.text(words.locale))}</p>' if banner else ""


def form(
    action: str,
    button: str,
    entries: Sequence[Entry] = (),
    *,
    hidden: Mapping[str, str] | None = None,
    is_quiet: bool = False,
    label: str = "",
    focuses: bool = True,
) -> str:
    """Return a form that posts to `action`. `label` names the button for screen readers.

    With `focuses` the page begins in its first empty box.
    """
    first = next((each for each in entries if not each.value), None) if focuses else None
    boxes = "".join(each.html(is_first=each is first) for each in entries)
    carried = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value, quote=True)}">'
        for name, value in (hidden or {}).items()
        if value
    )
    quiet = ' class="quiet"' if is_quiet else ""
    spoken = f' aria-label="{escape(label, quote=True)}"' if label else ""
    return (
        f'<form method="post" action="{escape(action, quote=True)}">{carried}{boxes}'
        f'<button type="submit"{quiet}{spoken}>{escape(button)}</button></form>'
    )


def new_password(words: Words) -> Entry:
    """Return the box for a new password."""
    hint = words.t("account.password_hint", least=passwords.SHORTEST)
    return Entry(
        name="password", label=words.t("account.new_password"), kind="password", autocomplete="new-password", hint=hint
    )


def current_password(words: Words, box_id: str = "current") -> Entry:
    """Return the box for the current password."""
    label = words.t("account.current_password")
    return Entry(name="current", box_id=box_id, label=label, kind="password", autocomplete="current-password")


def heading(text: str) -> str:
    """Return a heading below the title."""
    return f"<h2>{escape(text)}</h2>"


def error(sentence: str) -> str:
    """Return the sentence as an alert, or nothing."""
    return f'<p class="error" role="alert">{escape(sentence)}</p>' if sentence else ""


def done(sentence: str) -> str:
    """Return the sentence as a status, or nothing."""
    return f'<p class="done" role="status">{escape(sentence)}</p>' if sentence else ""


def paragraph(sentence: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(sentence)}</p>"


def shown(label: str, text: str) -> str:
    """Return a box with a text to copy."""
    box = f'<input id="shown" readonly value="{escape(text, quote=True)}">'
    return f'<div class="entry"><label for="shown">{escape(label)}</label>{box}</div>'


def link(address: str, text: str, *, is_quiet: bool = True) -> str:
    """Return a link in a paragraph of its own."""
    quiet = ' class="quiet"' if is_quiet else ""
    return f'<p><a{quiet} href="{escape(address, quote=True)}">{escape(text)}</a></p>'


def said(words: Words, problem: NaruError | None) -> str:
    """Return an error's sentence; "" without an error."""
    if problem is None:
        return ""
    minutes = problem.minutes if isinstance(problem, TooManySignIns) else 0
    return words.error(problem.code, minutes=minutes, least=passwords.SHORTEST, most=passwords.LONGEST)


def status_of(problem: NaruError | None) -> int:
    """Return the HTTP status of a page with this error."""
    if problem is None:
        return 200
    if isinstance(problem, TooManySignIns):
        return 429
    return 503 if isinstance(problem, Unavailable | SignInUnreachable | MailFailed) else 400
