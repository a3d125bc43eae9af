"""GET /api/banner: the banner in the reader's language. Anybody may read it, as on the sign-in page."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from web.api.answers import json_answer
from web.api.people.forms import words_of
from web.markdown.bounds import strip_bidi_controls
from web.runtime import current_runtime


async def banner(request: Request) -> Response:
    """Return the banner and the words around it; {} without one."""
    found = await current_runtime().banners.current()
    if found is None:
        return json_answer({})
    words = words_of(request)
    return json_answer(
        {
            "version": str(found.version),
            "text": strip_bidi_controls(found.text(words.locale)),
            "label": words.t("notice.banner"),
            "close": words.t("notice.close_banner"),
        }
    )
