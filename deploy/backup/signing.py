"""AWS Signature Version 4, which S3-compatible servers ask for: the headers that sign one request. Pure.

Checked against the vendor's own published examples in tests/backup/test_signing.py, and by a server that verifies.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who signs, and for which region and service."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str
    service: str = "s3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The request: its path escaped as it is sent, the names of its headers in lower case, the SHA-256 of its body."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body_hash: str


def authorization(credentials: Credentials, call: Call, now: datetime) -> dict[str, str]:
    """The headers to add: date (`now`, in UTC), the body's hash, and the signature over all of it."""
    added = {"x-amz-date": f"{now:%Y%m%dT%H%M%SZ}"}
    if credentials.service == "s3":
        added["x-amz-content-sha256"] = call.body_hash
    signed = {**call.headers, **added}
    names = ";".join(sorted(signed))
    words = sorted((quote(key, safe=""), quote(value, safe="")) for key, value in call.query.items())
    canonical = "\n".join(
        [
            call.method,
            call.path or "/",
            "&".join(f"{key}={value}" for key, value in words),
            *(f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)),
            "",
            names,
            call.body_hash,
        ]
    )
    scope = f"{now:%Y%m%d}/{credentials.region}/{credentials.service}/aws4_request"
    to_sign = "\n".join([ALGORITHM, added["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    added["Authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return added
