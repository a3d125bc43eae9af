"""Answers whose content is known: compressed as the client prefers, with a tag, and 304 for who has it already."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse

from web.asgi.encoding import GOOD, Coding, coding_for, compress

#: For an address that names the content, by a hash in its path or query.
FOREVER = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"


def version_of(content: bytes) -> str:
    """Return the hash by which an address or a tag names this content."""
    return sha256(content).hexdigest()[:12]


def cache_control_of(version: str, *, asked: str | None) -> str:
    """Return for how long an answer is good: for ever only where the address asked for this very version."""
    return FOREVER if asked == version else REVALIDATE


def unless_known(response: Response, given: Headers) -> Response:
    """Return 304 instead of this response where the client has it (If-None-Match, compared weakly)."""
    known = {tag.strip().removeprefix("W/") for tag in given.get("if-none-match", "").split(",")}
    if known & {"*", response.headers["etag"].removeprefix("W/")}:
        return NotModifiedResponse(response.headers)
    return response


class Held:
    """A text that a process makes once and keeps, for example the page's HTML."""

    def __init__(self, text: str, media_type: str) -> None:
        self.content = text.encode()
        self._media_type = media_type
        self._compressed: dict[Coding, bytes] = {}

    @cached_property
    def version(self) -> str:
        """The hash of the content."""
        return version_of(self.content)

    def answer(self, request: Request, *, cache_control: str | None = None) -> Response:
        """Return the answer to a GET; without `cache_control` it depends on whether `?v=` names this content."""
        if cache_control is None:
            cache_control = cache_control_of(self.version, asked=request.query_params.get("v"))
        coding = coding_for(request.headers)
        headers = {"cache-control": cache_control, "etag": f'W/"{self.version}"', "vary": "Accept-Encoding"}
        if coding is not None:
            headers["content-encoding"] = coding
        body = self.content if coding is None else self.compress(coding)
        response = Response(body, media_type=self._media_type, headers=headers)
        return unless_known(response, request.headers)

    def compress(self, coding: Coding) -> bytes:
        """Return the content in this coding, compressed once."""
        if coding not in self._compressed:
            self._compressed[coding] = compress(self.content, coding, quality=GOOD)
        return self._compressed[coding]
