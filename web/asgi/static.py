"""Serve static files compressed and with long caching: Streamlit's under /static, ours under /app/static.

Streamlit serves both uncompressed, and reads them from disk for each request. Here each text file is compressed once
and kept in memory: 1.1 MB for a first visit, 13 MB if every file is requested in both codings. Only files listed at
startup are served; no request path is joined to a folder, so none can escape it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qs

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from web.asgi.copies import copy_of
from web.asgi.encoding import Coding, coding_for, compress
from web.asgi.representation import FOREVER, REVALIDATE, cache_control_of, unless_known, version_of

MEDIA_TYPES = {
    ".css": "text/css",
    ".gif": "image/gif",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
COMPRESSIBLE = {".css", ".js", ".json", ".svg", ".txt", ".wasm"}
SMALLEST_COMPRESSED = 400  # bytes; below this the saving is smaller than the head


@dataclass(frozen=True)
class Asset:
    """One file. `is_hashed`: its name changes with its content."""

    path: Path
    stat: os.stat_result
    is_hashed: bool

    @property
    def media_type(self) -> str:
        """The media type, from our own list, because the operating system's list varies."""
        return MEDIA_TYPES.get(self.path.suffix, "application/octet-stream")

    @property
    def is_compressible(self) -> bool:
        """Whether the type and size are worth compressing."""
        return self.path.suffix in COMPRESSIBLE and self.stat.st_size >= SMALLEST_COMPRESSED

    @cached_property
    def version(self) -> str:
        """The hash of the content, for `?v=`."""
        return version_of(self.path.read_bytes())


def assets_below(folder: Path, prefix: str, *, are_hashed: bool) -> Iterator[tuple[str, Asset]]:
    """Yield every file below the folder with its path on the server."""
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield f"{prefix}/{name}", Asset(path, path.stat(), is_hashed=are_hashed)


class StaticFilesMiddleware:
    """Answers GET and HEAD below the prefixes of the assets, and passes everything else on."""

    def __init__(self, app: ASGIApp, *, assets: dict[str, Asset], prefixes: tuple[str, ...]) -> None:
        self._app = app
        self._assets = assets
        self._prefixes = prefixes
        self._bodies: dict[tuple[Path, Coding], bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request below the prefixes, or pass the connection on."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        response = await self._answer(scope)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            return PlainTextResponse("Method Not Allowed", status_code=405, headers={"allow": "GET, HEAD"})
        asset = self._assets.get(scope["path"])
        if asset is None:
            return PlainTextResponse("Not Found", status_code=404, headers={"cache-control": "no-store"})
        given = Headers(scope=scope)
        coding = coding_for(given) if asset.is_compressible else None
        response = await self._represented(asset, coding)
        response.headers["cache-control"] = await _cache_control(asset, scope["query_string"])
        if asset.is_compressible:
            response.headers["vary"] = "Accept-Encoding"
        return unless_known(response, given)

    async def _represented(self, asset: Asset, coding: Coding | None) -> Response:
        if coding is None:  # FileResponse supports ranges and streams large files
            return FileResponse(asset.path, stat_result=asset.stat, media_type=asset.media_type)
        body = self._bodies.get((asset.path, coding))
        if body is None:
            body = await to_thread.run_sync(_compressed, asset, coding)
            self._bodies[asset.path, coding] = body
        etag = f'W/"{asset.stat.st_mtime_ns:x}-{asset.stat.st_size:x}"'
        return Response(body, media_type=asset.media_type, headers={"content-encoding": coding, "etag": etag})


def _compressed(asset: Asset, coding: Coding) -> bytes:
    if coding == "br" and asset.is_hashed:
        try:
            return copy_of(asset.path).read_bytes()
        except FileNotFoundError:
            pass
    return compress(asset.path.read_bytes(), coding)


async def _cache_control(asset: Asset, query: bytes) -> str:
    """Return the Cache-Control header: immutable if the name is hashed or `?v=` matches the content's hash."""
    if asset.is_hashed:
        return FOREVER
    asked = parse_qs(query.decode("latin-1")).get("v")
    if asked is None:
        return REVALIDATE
    return cache_control_of(await to_thread.run_sync(lambda: asset.version), asked=asked[-1])
