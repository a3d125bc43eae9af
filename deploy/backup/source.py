"""Finds a backup, here or in the bucket, and verifies it before use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.backup import bucket_copy, verify
from deploy.backup import manifest as manifests
from deploy.backup.key import Key
from deploy.backup.manifest import Manifest
from deploy.backup.problem import BackupProblem
from deploy.backup.s3 import Bucket
from deploy.backup.shelf import NEWEST, Shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A backup that `prove` has accepted: its manifest, its encrypted file and the key."""

    found: Manifest
    file: Path
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The places to search for backups, and the backups' key."""

    shelf: Shelf
    bucket: Bucket | None
    key: Key
    say: Callable[[str], None]


def prove(found: Manifest, file: Path, key: Key) -> Source:
    """Check the key, the schema and the file. Raises BackupProblem if a check fails."""
    found.check_seal(key)
    verify.check_schema(found)
    manifests.check_file(found, file)
    return Source(found=found, file=file, key=key)


def find(places: Places, name: str) -> Source:
    """Find the backup of this name, or the newest in either place; fetch it if only the bucket has it."""
    here = places.shelf.find(name)
    if places.bucket is not None and (here is None or name == NEWEST):
        there = next(iter(bucket_copy.names(places.bucket)), "") if name == NEWEST else name
        if here is None or there > here.name:
            places.shelf.make()
            with places.shelf.held():
                return _fetched(places, there or name, places.shelf)
    if here is None:
        shelf = places.shelf
        damaged = f", and {name} is damaged (its file is truncated or missing)" if name in shelf.damaged() else ""
        raise BackupProblem(
            f"there is no good backup{'' if name == NEWEST else f' {name}'} in {shelf.folder}{damaged}.\n"
            "      ./naru backup --list shows all backups."
        )
    return prove(here, places.shelf.path(here), places.key)


def find_for_drill(places: Places, scratch: Path) -> Source:
    """Find the newest backup: with a bucket, fetch its copy into `scratch`; otherwise use the local one."""
    return find(places, NEWEST) if places.bucket is None else _fetched(places, NEWEST, Shelf(scratch))


def _fetched(places: Places, name: str, into: Shelf) -> Source:
    if places.bucket is None:
        raise RuntimeError("there is no bucket to fetch from")
    places.say(f"  fetching {name} from the bucket {places.bucket.name}")
    found = bucket_copy.fetch(places.bucket, name, into)
    return prove(found, into.path(found), places.key)
