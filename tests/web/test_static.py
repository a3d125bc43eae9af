"""Tests of static files and the page's modules over HTTP: codings, caching, ranges and path traversal."""

from __future__ import annotations

import gzip
import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit

import brotli
import pytest
from starlette.routing import Route

from tests.patience import patient
from tests.stack import Process, Stack
from web.api import make_routes
from web.asgi.representation import FOREVER
from web.shell import chunks
from web.shell.document import document, early_script, page_css
from web.shell.stylesheet import ICON_FONT, OURS, address_of

ENTRY = next((chunks.STREAMLIT / "static" / "js").glob("react-dom.*.js"))
SCRIPT = f"/static/js/{ENTRY.name}"
FONT = address_of(ICON_FONT).removeprefix(".")
CHROMIUM = "gzip, deflate, br, zstd"


@dataclass(frozen=True)
class Reply:
    """An answer, with its body as received."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def content(self) -> bytes:
        """The body, decoded."""
        decode = {"br": brotli.decompress, "gzip": gzip.decompress}
        coding = self.headers["content-encoding"]
        return decode[coding](self.body) if coding else self.body


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: no test here changes anything."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start the web process."""
    return stack.start_web()


def fetch(web: Process, path: str, *, method: str = "GET", **headers: str) -> Reply:
    """Send one request, with path and headers unchanged."""
    connection = http.client.HTTPConnection(urlsplit(web.url).netloc, timeout=patient(10))
    named = {name.replace("_", "-"): value for name, value in {"accept_encoding": "identity", **headers}.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    reply = Reply(answer.status, answer.headers, answer.read())
    connection.close()
    return reply


@pytest.mark.parametrize(("accepted", "coding"), [(CHROMIUM, "br"), ("gzip", "gzip"), ("identity", None)])
@pytest.mark.parametrize("path", ["/", "/page.css", "/live.js", "/early.js", "/colours.js", "/favicon.png", SCRIPT])
def test_text_comes_in_the_preferred_coding(web: Process, path: str, accepted: str, coding: str | None) -> None:
    plain, reply = fetch(web, path), fetch(web, path, accept_encoding=accepted)
    assert (reply.status, reply.headers["content-encoding"]) == (200, coding)
    assert reply.content == plain.body, "compressed once, not twice"
    assert set(reply.headers["vary"].split(", ")) == {"Accept-Encoding"}
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert coding is None or len(reply.body) < len(plain.body)


def test_first_answer_of_a_file_equals_the_next(web: Process) -> None:
    path = f"/static/js/{next((chunks.STREAMLIT / 'static' / 'js').glob('moment.*.js')).name}"
    first, second = (fetch(web, path, accept_encoding=CHROMIUM) for _ in range(2))
    assert first.content == second.content == (chunks.STREAMLIT / path.removeprefix("/")).read_bytes()


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        (SCRIPT, "text/javascript; charset=utf-8"),
        (FONT, "font/woff2"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/live.js", "text/javascript; charset=utf-8"),
        ("/favicon.png", "image/svg+xml"),
        ("/app/static/fonts/icons/names.txt", "text/plain; charset=utf-8"),
    ],
)
def test_files_have_their_type_and_headers(web: Process, path: str, media_type: str) -> None:
    for accepted in (CHROMIUM, "identity"):
        headers = fetch(web, path, accept_encoding=accepted).headers
        assert headers["content-type"] == media_type
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_address_that_names_its_content_never_expires(web: Process) -> None:
    named = (SCRIPT, FONT, f"/page.css?v={page_css().version}", f"/early.js?v={early_script().version}")
    for path in named:
        assert fetch(web, path, accept_encoding=CHROMIUM).headers["cache-control"] == FOREVER, path
    for path in ("/", "/page.css", "/page.css?v=old", "/live.js?v=", FONT.partition("?")[0], f"{FONT}0"):
        assert fetch(web, path, accept_encoding=CHROMIUM).headers["cache-control"] == "no-cache", path


@pytest.mark.parametrize("accepted", [CHROMIUM, "gzip", "identity"])
@pytest.mark.parametrize("path", ["/", "/page.css", "/live.js", SCRIPT, FONT])
def test_known_content_is_answered_with_304(web: Process, path: str, accepted: str) -> None:
    first = fetch(web, path, accept_encoding=accepted)
    for known in (first.headers["etag"], f'"other", {first.headers["etag"]}', "*"):
        again = fetch(web, path, accept_encoding=accepted, if_none_match=known)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert again.headers["cache-control"] == first.headers["cache-control"]
    assert fetch(web, path, accept_encoding=accepted, if_none_match='"other"').status == 200


@pytest.mark.parametrize("accepted", [CHROMIUM, "identity"])
def test_head_says_what_get_would_send(web: Process, accepted: str) -> None:
    for path in (SCRIPT, FONT):
        got, head = (fetch(web, path, method=method, accept_encoding=accepted) for method in ("GET", "HEAD"))
        assert (head.status, head.body) == (200, b"")
        for name in ("content-length", "content-encoding", "etag", "cache-control"):
            assert head.headers[name] == got.headers[name]


def test_ranges_count_uncompressed_bytes(web: Process) -> None:
    content = (OURS / ICON_FONT).read_bytes()
    part = fetch(web, FONT, range="bytes=10-19", accept_encoding=CHROMIUM)
    assert (part.status, part.body) == (206, content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(content)}"
    assert fetch(web, SCRIPT, range="bytes=0-9").body == ENTRY.read_bytes()[:10]
    assert fetch(web, SCRIPT, range="bytes=0-9", accept_encoding="br").content == ENTRY.read_bytes()
    assert fetch(web, FONT, range="bytes=999999-").status == 416


@pytest.mark.parametrize(
    "path",
    [
        "/static/../index.html",
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/index.html",
        "/static/..%2f..%2f__init__.py",
        "/static/js/../../../__init__.py",
        "/static//etc/passwd",
        "/app/static/../app.py",
        "/app/static/%2e%2e/app.py",
        "/app/static/..%5capp.py",
        "/app/static/fonts",
        "/app/static/fonts/",
        "/static/js/nothing.js",
        "/static/%00",
    ],
)
def test_static_files_stay_within_their_folder(web: Process, path: str) -> None:
    reply = fetch(web, path)
    assert reply.status in {400, 404}
    assert len(reply.body) < 50
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_other_methods_are_refused(web: Process) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert fetch(web, SCRIPT, method=method).status == 405, method


def test_page_comes_in_the_browsers_language(web: Process) -> None:
    korean = fetch(web, "/", accept_language="ko-KR,ko;q=0.9,en;q=0.8")
    chosen = fetch(web, "/", accept_language="ko-KR", cookie="naru_locale=en")
    assert b'<html lang="ko">' in korean.body
    assert b'<html lang="en">' in chosen.body
    assert korean.headers["etag"] != chosen.headers["etag"]


def test_only_a_conversation_loads_the_early_script() -> None:
    new, opened = (document("en", is_conversation=each).content.decode() for each in (False, True))
    assert "early.js" not in new
    assert opened.index("./early.js?v=") < opened.index("/static/js/index."), "it runs before Streamlit"


def test_page_names_only_existing_files(web: Process) -> None:
    html = document("en", is_conversation=True).content.decode()
    addresses = [part.partition('"')[0] for mark in ('src="./', 'href="./') for part in html.split(mark)[1:]]
    assert len(addresses) > 90
    for address in addresses:
        if not address.startswith("_stcore"):
            assert fetch(web, f"/{address}").status == 200, address
    assert all(fetch(web, f"/{path}").status == 200 for path in chunks.late())


def test_page_does_not_load_streamlits_own_fonts() -> None:
    html, css = document("en", is_conversation=False).content.decode(), page_css().content.decode()
    assert "SourceSans" not in html + css
    assert "SourceSerif" not in css
    assert "MaterialSymbols-Rounded" not in css
    assert css.count("font-family:Material Symbols Rounded") == css.count("MaterialSymbolsRounded.subset") == 1
    assert "static/css/index." not in html, "page.css includes Streamlit's stylesheet"


def test_files_of_the_shell_have_routes() -> None:
    shell = {"/", "/page.css", "/early.js", "/live.js", "/favicon.png"}
    assert shell <= {route.path for route in make_routes() if isinstance(route, Route)}
