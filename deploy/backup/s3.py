"""A client for a bucket of an S3-compatible server: put, get, list and delete.

It signs requests with Signature Version 4 and sends the MD5 of each upload, which a bucket with Object Lock requires.
Large files are uploaded in parts. Addresses are path-style, which every such server supports. Decision 0017 says why it
uses no SDK.
"""

from __future__ import annotations

import base64
import hashlib
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlsplit

from deploy.backup.problem import BackupProblem
from deploy.backup.signing import Call, Credentials, authorization
from shared.settings import Settings

PART_BYTES = 16 << 20
MOST_PARTS = 10_000
BLOCK = 1 << 18
TIMEOUT_SECONDS = 60  # of one read or write on the socket
TRIES = 4
AGAIN = {429, 500, 502, 503, 504}


class Refused(BackupProblem):
    """The server refused a request; `code` is its error code."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class NoSuchObject(Refused):
    """The bucket has no object of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One bucket. Every name gets the prefix."""

    endpoint: str
    name: str
    prefix: str
    credentials: Credentials = field(repr=False)
    part_bytes: int = PART_BYTES
    page: int = 1000

    def put(self, name: str, path: Path) -> None:
        """Upload a file. It appears under its name only when it is complete."""
        size = path.stat().st_size
        if size <= self.part_bytes:
            self._ask("PUT", name, body=path.read_bytes())
            return
        part_bytes = max(self.part_bytes, -(-size // MOST_PARTS))
        upload = _text_of(self._ask("POST", name, query={"uploads": ""}), "UploadId")
        try:
            tags: list[str] = []
            with path.open("rb") as file:
                while part := file.read(part_bytes):
                    query = {"partNumber": str(len(tags) + 1), "uploadId": upload}
                    tags.append(self._ask("PUT", name, query=query, body=part).headers["etag"])
            self._ask("POST", name, query={"uploadId": upload}, body=_parts(tags))
        except BaseException:
            # Otherwise its parts would stay, invisible and billed.
            self._ask("DELETE", name, query={"uploadId": upload})
            raise

    def get(self, name: str, path: Path) -> None:
        """Download to a file. Raises NoSuchObject."""
        try:
            with self._open("GET", name) as answer, path.open("wb") as file:
                while block := answer.read(BLOCK):
                    file.write(block)
        except (HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise BackupProblem(f"the download of {name} was interrupted ({error}). Try again.") from None

    def read(self, name: str) -> str:
        """Return a small object as text."""
        return self._ask("GET", name).body.decode("utf-8", errors="replace")

    def list(self) -> dict[str, int]:
        """Return the size in bytes of each object, by its name without the prefix."""
        sizes: dict[str, int] = {}
        token = ""
        while True:
            query = {"list-type": "2", "max-keys": str(self.page), "prefix": self.prefix} | (
                {"continuation-token": token} if token else {}
            )
            tree = _tree(self._ask("GET", None, query=query).body)
            for each in tree.iterfind("{*}Contents"):
                name = (each.findtext("{*}Key") or "").removeprefix(self.prefix)
                sizes[name] = int(each.findtext("{*}Size") or 0)
            if tree.findtext("{*}IsTruncated") != "true":
                return sizes
            token = tree.findtext("{*}NextContinuationToken") or ""

    def delete(self, name: str) -> None:
        """Delete an object, if it exists."""
        self._ask("DELETE", name)

    def _ask(
        self, method: str, name: str | None, *, query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request, with retries. S3 may answer 200 with an error in the body."""
        for pause in _pauses():
            try:
                with self._open(method, name, query=query, body=body) as answer:
                    found = Answer({name.lower(): value for name, value in answer.headers.items()}, answer.read())
                if method == "POST" and b"<Error>" in found.body:
                    raise BackupProblem(f"the bucket {self.name} refused {name}: {_code_of(found.body)}.")
                return found
            except (_TryAgain, HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
                if pause is None:
                    reason = getattr(error, "reason", error)
                    raise BackupProblem(f"the S3 server {self.endpoint} does not answer ({reason}).") from None
                time.sleep(pause)
        raise RuntimeError("the last try returns or raises")

    def _open(
        self, method: str, name: str | None, *, query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HTTPResponse:
        base = urlsplit(self.endpoint)
        path = f"{base.path.rstrip('/')}/{quote(self.name)}"
        path += "" if name is None else f"/{quote(self.prefix + name)}"
        headers = {"host": base.netloc.rpartition("@")[2]}
        if body:
            headers["content-md5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        call = Call(
            method=method,
            path=path,
            query=query or {},
            headers=headers,
            body_hash=hashlib.sha256(body).hexdigest(),
        )
        headers |= authorization(self.credentials, call, datetime.now(UTC))
        words = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in (query or {}).items())
        url = f"{base.scheme}://{base.netloc}{path}{f'?{words}' if words else ''}"
        request = urllib.request.Request(  # noqa: S310 - the setting allows http and https only
            url, data=body if method in {"PUT", "POST"} else None, method=method, headers=headers
        )
        if method in {"PUT", "POST"}:
            request.add_header("Content-Type", "application/octet-stream")
        try:
            answer: HTTPResponse = urllib.request.build_opener().open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error.code, error.read(), name) from None
        return answer

    def _refusal(self, status: int, body: bytes, name: str | None) -> Exception:
        code = _code_of(body)
        if status in AGAIN:
            return _TryAgain(f"{status} {code}")
        if status == 404 and code != "NoSuchBucket":
            sentence = f"the bucket {self.name} has no {name}. ./naru backup --list shows all backups."
            return NoSuchObject(sentence, code)
        what = f"the bucket {self.name} at {self.endpoint} refused {name or 'the list'}: {status} {code}."
        hint = "Check NARU_BACKUP_S3_BUCKET, the region, both keys and their permissions."
        return Refused(f"{what}\n      {hint}", code)


@dataclass(frozen=True, slots=True)
class Answer:
    """The headers and body of a short response."""

    headers: Mapping[str, str]
    body: bytes


class _TryAgain(Exception):
    """The server is busy or has failed; a retry may help."""


def bucket_of(settings: Settings) -> Bucket | None:
    """Return the bucket of the settings, None if there is none. Raises BackupProblem if a setting is missing."""
    needed = {
        "NARU_BACKUP_S3_ENDPOINT": settings.backup_s3_endpoint,
        "NARU_BACKUP_S3_BUCKET": settings.backup_s3_bucket,
        "NARU_BACKUP_S3_ACCESS_KEY": settings.backup_s3_access_key,
        "NARU_BACKUP_S3_SECRET_KEY": settings.backup_s3_secret_key,
    }
    if not any(needed.values()):
        return None
    if missing := [name for name, value in needed.items() if not value]:
        raise BackupProblem(
            f"{missing[0]} is not set, but other settings of the bucket are. Set it, or unset the others."
        )
    return Bucket(
        endpoint=settings.backup_s3_endpoint.rstrip("/"),
        name=settings.backup_s3_bucket,
        prefix=settings.backup_s3_prefix,
        credentials=Credentials(
            access_key=settings.backup_s3_access_key,
            secret_key=settings.backup_s3_secret_key,
            region=settings.backup_s3_region,
        ),
    )


def _pauses() -> Iterator[float | None]:
    """Yield the seconds to wait after each failed try; None after the last one."""
    yield from (2.0**number / 2 for number in range(TRIES - 1))
    yield None


def _parts(tags: list[str]) -> bytes:
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in enumerate(tags, start=1)
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()


def _tree(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - expat limits the expansion of entities
    except ET.ParseError:
        raise BackupProblem("the server at NARU_BACKUP_S3_ENDPOINT is not an S3 server. Correct the address.") from None


def _text_of(answer: Answer, name: str) -> str:
    return _tree(answer.body).findtext(f"{{*}}{name}") or ""


def _code_of(body: bytes) -> str:
    try:
        return _tree(body).findtext("{*}Code") or _tree(body).findtext("Code") or "no reason given"
    except BackupProblem:
        return "no reason given"
