"""The second factor on the sign-in and account pages: the QR code, the box for a code, the recovery codes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import segno
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import NaruError
from shared.people.codes import Begun
from shared.words import Words
from web.api.people import pages
from web.api.people.forms import path_to, words_of


def setup(
    request: Request, begun: Begun, *, action: str, note: str = "", back: str = "", error: NaruError | None = None
) -> Response:
    """Return the page with the QR code, which asks for the first code. The path `action` takes it."""
    words = words_of(request)
    is_sign_in = action.startswith("/sign-in")
    way_out = pages.link(
        path_to(request, "/sign-in", back=back) if is_sign_in else path_to(request, "/account"),
        words.t("factor.start_over" if is_sign_in else "factor.back"),
    )
    grouped = " ".join(begun.secret[at : at + 4] for at in range(0, len(begun.secret), 4))
    parts = [
        pages.paragraph(note) if note else "",
        pages.error(pages.said(words, error)),
        pages.paragraph(words.t("factor.scan")),
        _qr_code(begun.address, words.t("factor.qr_code")),
        pages.link(begun.address, words.t("factor.open_app")),
        f"<p>{escape(words.t('factor.type_secret'))}<br><code>{escape(grouped)}</code></p>",
        pages.form(
            path_to(request, action),
            words.t("factor.confirm"),
            [code_entry(words)],
            hidden={"c": back, "begun": begun.sealed},
        ),
        way_out,
    ]
    title = words.t("factor.title")
    return pages.page(words, title, "".join(parts), request=request, status=pages.status_of(error))


def recovery_codes(request: Request, new: Sequence[str], *, onward: str, back: str = "") -> Response:
    """Return the page that shows new recovery codes, once; `onward` is the path that follows."""
    words = words_of(request)
    parts = [
        pages.done(words.t("factor.is_on")),
        pages.heading(words.t("factor.recovery_codes")),
        pages.paragraph(words.t("factor.recovery_text")),
        '<ul class="codes">',
        *(f"<li><code>{escape(code)}</code></li>" for code in new),
        "</ul>",
        pages.link(path_to(request, onward, back=back), words.t("factor.saved"), is_quiet=False),
    ]
    return pages.page(words, words.t("factor.title"), "".join(parts), request=request)


def code_entry(words: Words, *, box_id: str = "code") -> pages.Entry:
    """Return the box for a code."""
    return pages.Entry(name="code", label=words.t("factor.code"), autocomplete="one-time-code", box_id=box_id)


def _qr_code(address: str, label: str) -> str:
    """Return the QR code as SVG: black on white in every theme, because phones read no other well."""
    drawn = segno.make(address, error="m", micro=False).svg_inline(scale=5, border=4, light="#ffffff", dark="#000000")
    return f'<div class="qr" role="img" aria-label="{escape(label, quote=True)}">{drawn}</div>'
