"""AWS Signature Version 4, which S3-compatible servers require: make the headers that sign one request. Pure.

tests/backup/test_signing.py checks it against the vendor's published examples and against a server that verifies.
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
    """A key pair, with the region and service that it signs for."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str
    service: str = "s3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request: its path escaped as sent, its header names in lower case, and the SHA-256 of its body."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body_hash: str


def authorization(credentials: Credentials, call: Call, now: datetime) -> dict[str, str]:
    """Return the headers to add: the date (`now`, in UTC), the hash of the body, and the signature."""
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
