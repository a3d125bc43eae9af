"""The security headers of every answer, with a content security policy that fits Streamlit's page.

The policy lists only sources that the page needs, so that nothing in a model's answer can load anything else.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256

from web.shell.document import inline_scripts

_POLICY = (
    "default-src 'self'",
    # Inline scripts, Streamlit's and ours, are allowed by their hashes; components are loaded as blobs.
    "script-src 'self' blob: 'wasm-unsafe-eval' {inline}",
    # Streamlit's styling library, Emotion, adds style elements to the page.
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "media-src 'self' data: blob:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "frame-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'self'",
)


@cache
def security_headers() -> dict[str, str]:
    """Return the headers, made once per process, because inline scripts change only with a new version."""
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
    """Return the HSTS header for answers over TLS; empty for 0 seconds."""
    return [(b"strict-transport-security", b"max-age=%d" % seconds)] if seconds else []


def _source_of(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
