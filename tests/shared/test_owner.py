"""Tests of the owner's stored form, and of reading it back."""

from __future__ import annotations

from uuid import UUID

import pytest

from shared.people import Owner

BROWSER_ID = UUID("0d0d6a5e-7c1f-4f58-9d1a-3f4f1c2b7a11")


@pytest.mark.parametrize(
    ("owner", "key"),
    [
        (Owner.browser(BROWSER_ID), f"browser:{BROWSER_ID}"),
        (Owner.terminal(), "terminal"),
        (Owner("later", "a:b"), "later:a:b"),
    ],
)
def test_key_is_the_stored_text_and_reads_back(owner: Owner, key: str) -> None:
    assert owner.key == str(owner) == key
    assert Owner.from_key(key) == owner
    assert hash(Owner.from_key(key)) == hash(owner)


@pytest.mark.parametrize("key", ["", ":", "browser:", ":1", "Browser:1", "browser:1 2", "a:b:c", "terminal\n"])
def test_every_text_reads_back(key: str) -> None:
    assert Owner.from_key(key).key == key
