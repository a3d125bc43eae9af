"""Signature Version 4 against the vendor's published examples: the same input gives the same signature."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from deploy.backup.signing import Call, Credentials, authorization

EMPTY = hashlib.sha256(b"").hexdigest()


def signature(made: dict[str, str]) -> str:
    """Return the signature in the header."""
    return made["Authorization"].rpartition("Signature=")[2]


def test_signature_matches_the_general_example() -> None:
    who = Credentials(
        access_key="AKIDEXAMPLE",
        secret_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        region="us-east-1",
        service="service",
    )
    call = Call(method="GET", path="/", query={}, headers={"host": "example.amazonaws.com"}, body_hash=EMPTY)
    made = authorization(who, call, datetime(2015, 8, 30, 12, 36, tzinfo=UTC))
    assert signature(made) == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"


WHO = Credentials(
    access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region="us-east-1"
)
HOST = {"host": "examplebucket.s3.amazonaws.com"}
PUT = {**HOST, "date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
CONTENT = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()


EXAMPLES = [
    (
        Call(method="GET", path="/test.txt", query={}, headers={**HOST, "range": "bytes=0-9"}, body_hash=EMPTY),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    (
        Call(method="PUT", path="/test%24file.text", query={}, headers=PUT, body_hash=CONTENT),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    (
        Call(method="GET", path="/", query={"lifecycle": ""}, headers=HOST, body_hash=EMPTY),
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    (
        Call(method="GET", path="/", query={"prefix": "J", "max-keys": "2"}, headers=HOST, body_hash=EMPTY),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
]


@pytest.mark.parametrize(("call", "expected"), EXAMPLES)
def test_signature_matches_the_storage_service_examples(call: Call, expected: str) -> None:
    assert signature(authorization(WHO, call, datetime(2013, 5, 24, tzinfo=UTC))) == expected
