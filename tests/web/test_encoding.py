"""Tests of content codings: a client gets the one it prefers, and can decode it."""

from __future__ import annotations

import gzip

import brotli
import pytest
from starlette.datastructures import Headers

from web.asgi.encoding import coding_for, compress


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("GZIP, BR", "br"),
        ("gzip, deflate", "gzip"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br ; q=0.9 , gzip; q=0.9", "br"),
        ("*", "br"),
        ("*;q=0.5, br;q=0", "gzip"),
        ("zstd, deflate", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("br;q=0, gzip;q=0", None),
        ("br;q=nonsense", None),
        ("", None),
        (",;,;q=1", None),
    ],
)
def test_client_gets_the_coding_it_prefers(accepted: str, coding: str | None) -> None:
    assert coding_for(Headers({"accept-encoding": accepted})) == coding


def test_two_headers_count_as_one() -> None:
    lines = [(b"accept-encoding", b"identity"), (b"accept-encoding", b"gzip, br;q=0.5")]
    assert coding_for(Headers(raw=lines)) == "gzip"
    assert coding_for(Headers()) is None


def test_compressed_content_can_be_decompressed() -> None:
    content = "나루터 ".encode() * 1000
    assert brotli.decompress(compress(content, "br")) == content
    assert gzip.decompress(compress(content, "gzip")) == content
    assert compress(content, "gzip") == compress(content, "gzip"), "compression is deterministic"
