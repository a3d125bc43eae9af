"""The security headers of every answer, and the policy under which Streamlit's page works.

Each source in the policy is there because the page needs it; whatever a model's answer holds cannot load
anything from elsewhere.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

import streamlit

_POLICY = (
    "default-src 'self'",
    # Streamlit's page has an inline script, named by its hash; components are loaded as blobs.
    "script-src 'self' blob: 'wasm-unsafe-eval' {inline}",
    # Emotion, which Streamlit is styled with, writes its rules into the page.
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "media-src 'self' data: blob:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "frame-src 'self'",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'self'",
)
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@cache
def security_headers() -> dict[str, str]:
    """The headers; read once from the installed Streamlit, whose inline scripts change with its version."""
    page = Path(streamlit.__file__).with_name("static") / "index.html"
    scripts = _INLINE_SCRIPT.findall(page.read_text(encoding="utf-8"))
    return {
        "content-security-policy": "; ".join(_POLICY).format(inline=" ".join(map(_source_of, scripts))),
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), payment=(), usb=()",
    }


@cache
def transport_security(seconds: int) -> list[tuple[bytes, bytes]]:
    """For answers that went by TLS: the browser comes by nothing else for so long. Empty for 0."""
    return [(b"strict-transport-security", b"max-age=%d" % seconds)] if seconds else []


def _source_of(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
