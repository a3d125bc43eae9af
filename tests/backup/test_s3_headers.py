"""A multipart upload finds the ETags of its parts however the server spells the header."""

from __future__ import annotations

import logging
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.backup.s3 import Bucket
from deploy.backup.signing import Credentials
from tests.patience import patient

log = logging.getLogger(__name__)

STARTED = b"<InitiateMultipartUploadResult><UploadId>7</UploadId></InitiateMultipartUploadResult>"
COMPLETED = b"<CompleteMultipartUploadResult/>"


class Parts(BaseHTTPRequestHandler):
    """A server for one multipart upload; `tag_header` is how it spells the ETag header."""

    tag_header = ""
    completed: bytes = b""
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Begin or complete the upload."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if "uploads=" in self.path:
            return self._answer(STARTED)
        type(self).completed = body
        return self._answer(COMPLETED)

    def do_PUT(self) -> None:
        """Accept a part; its ETag names its number."""
        self.rfile.read(int(self.headers["Content-Length"]))
        number = re.search(r"partNumber=(\d+)", self.path)
        assert number
        self._answer(b"", f'"part-{number[1]}"')

    def _answer(self, body: bytes, tag: str = "") -> None:
        self.send_response(200)
        if tag:
            self.send_header(self.tag_header, tag)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, text: str, *args: object) -> None:
        """Log at DEBUG, not to standard error."""
        log.debug(text, *args)


@pytest.mark.parametrize("spelling", ["etag", "ETag", "Etag", "ETAG"])
def test_header_names_ignore_case(spelling: str, tmp_path: Path) -> None:
    class Handler(Parts):
        tag_header = spelling

    (tmp_path / "file").write_bytes(b"x" * 25)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            who = Credentials(access_key="a", secret_key="b", region="us-east-1")
            url = f"http://127.0.0.1:{server.server_port}"
            Bucket(endpoint=url, name="kept", prefix="", credentials=who, part_bytes=10).put("f", tmp_path / "file")
        finally:
            server.shutdown()
            thread.join(timeout=patient(5))
    assert re.findall(r'<ETag>"(part-\d)"</ETag>', Handler.completed.decode()) == ["part-1", "part-2", "part-3"]
