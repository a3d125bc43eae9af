"""The security headers of every answer, and the policy under which Streamlit's page works.

Each source in the policy is there because the page needs it; whatever a model's answer holds cannot load
anything from elsewhere.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256

from web.shell.document import inline_scripts

_POLICY = (
    "default-src 'self'",
    # The page has inline scripts, Streamlit's and ours, named by their hashes; components are loaded as blobs.
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


@cache
def security_headers() -> dict[str, str]:
    """The headers; made once, because the page's inline scripts change with Streamlit's version and with ours only."""
    return {
        "content-security-policy": "; ".join(_POLICY).format(inline=" ".join(map(_source_of, inline_scripts()))),
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
