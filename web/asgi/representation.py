"""Answers with fixed content: compressed as the client prefers, with an ETag, and 304 if the client has it."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse

from web.asgi.encoding import GOOD, Coding, coding_for, compress

#: For URLs that contain a hash of the content.
FOREVER = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"


def version_of(content: bytes) -> str:
    """Return the hash that identifies this content in URLs and ETags."""
    return sha256(content).hexdigest()[:12]


def cache_control_of(version: str, *, asked: str | None) -> str:
    """Return the Cache-Control header: immutable only if the URL asked for this very version."""
    return FOREVER if asked == version else REVALIDATE


def unless_known(response: Response, given: Headers) -> Response:
    """Return the response, or 304 if the client has it (If-None-Match, compared weakly)."""
    known = {tag.strip().removeprefix("W/") for tag in given.get("if-none-match", "").split(",")}
    if known & {"*", response.headers["etag"].removeprefix("W/")}:
        return NotModifiedResponse(response.headers)
    return response


class FixedContent:
    """Text that a process makes once and keeps, for example the page's HTML."""

    def __init__(self, text: str, media_type: str) -> None:
        self.content = text.encode()
        self._media_type = media_type
        self._compressed: dict[Coding, bytes] = {}

    @cached_property
    def version(self) -> str:
        """The hash of the content."""
        return version_of(self.content)

    def answer(self, request: Request, *, cache_control: str | None = None) -> Response:
        """Return the answer to a GET. By default, Cache-Control depends on whether `?v=` matches the content."""
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
        """Return the compressed content, which is made once per coding."""
        if coding not in self._compressed:
            self._compressed[coding] = compress(self.content, coding, quality=GOOD)
        return self._compressed[coding]
