"""Copies of the backups in a bucket: list, check, upload, fetch and prune them.

The manifest is uploaded last and deleted first, so a copy with a manifest is complete. A copy counts as good if its
manifest is sealed with our key and names the size that the bucket reports. The drill and a restore check the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.backup import manifest as manifests
from deploy.backup.key import Key
from deploy.backup.manifest import DUMP_SUFFIX, NAME, SUFFIX, Manifest
from deploy.backup.problem import BackupProblem, of_disk
from deploy.backup.retention import Keep, kept
from deploy.backup.s3 import Bucket, Refused
from deploy.backup.shelf import NEWEST, Shelf

#: A manifest has about 2 KB. A larger object is not a manifest and is not fetched.
LARGEST_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies in a bucket, by name.

    Those in `whole` have a manifest and a file of its size; those in `good` are also sealed with our key. `doubtful`
    says why others are not good.
    """

    whole: Mapping[str, Manifest]
    good: Mapping[str, Manifest]
    doubtful: Mapping[str, str]


def names(bucket: Bucket) -> list[str]:
    """List the names of backups in the bucket, newest first. Nothing is fetched or checked."""
    return _names(bucket.list())


def _names(there: Mapping[str, int]) -> list[str]:
    found = {name.removesuffix(SUFFIX) for name in there if name.endswith(SUFFIX)}
    return sorted((name for name in found if _is_name(name) and name + DUMP_SUFFIX in there), reverse=True)


def _is_name(name: str) -> bool:
    """Return whether `name` is a backup's name with a valid date: others may write to a bucket too."""
    try:
        return NAME.fullmatch(name) is not None and moment_of(name) is not None
    except ValueError:
        return False


def copies(bucket: Bucket, key: Key) -> Copies:
    """Check every copy as far as possible without fetching it: its manifest, seal and size."""
    there = bucket.list()
    whole: dict[str, Manifest] = {}
    good: dict[str, Manifest] = {}
    doubtful: dict[str, str] = {}
    for name in _names(there):
        try:
            whole[name] = _whole(bucket, name, there)
        except _Doubt as doubt:
            doubtful[name] = str(doubt)
            continue
        try:
            whole[name].check_seal(key)
            good[name] = whole[name]
        except BackupProblem:
            doubtful[name] = "its manifest is not sealed with this key"
    return Copies(whole, good, doubtful)


class _Doubt(Exception):
    """This copy cannot be trusted; the message says why."""


def _whole(bucket: Bucket, name: str, there: Mapping[str, int]) -> Manifest:
    if there[name + SUFFIX] > LARGEST_MANIFEST_BYTES:
        raise _Doubt("its manifest is too large to be one")
    try:
        text = bucket.read(name + SUFFIX)
    except Refused as error:
        raise _Doubt(f"its manifest cannot be read ({error.code})") from None
    try:
        found = manifests.parse(text, where=name + SUFFIX)
    except BackupProblem:
        raise _Doubt("its manifest is not valid, or is from another version") from None
    if found.name != name:
        raise _Doubt(f"its manifest belongs to {found.name}")
    if there[found.file] != found.size:
        raise _Doubt(f"its file has {there[found.file]} of {found.size} bytes")
    return found


def upload_missing(bucket: Bucket, shelf: Shelf, there: Copies) -> Iterator[str]:
    """Upload each local backup that has no complete copy in the bucket, newest first; yield the names.

    This includes backups that earlier runs could not upload. A different or truncated copy is replaced.
    """
    for each in shelf.all():
        if there.whole.get(each.name) != each:
            bucket.put(each.file, shelf.path(each))
            bucket.put(each.name + SUFFIX, shelf.folder / f"{each.name}{SUFFIX}")
            yield each.name


def fetch(bucket: Bucket, name: str, shelf: Shelf) -> Manifest:
    """Download one backup (or the newest) to `shelf`. The caller checks its hash."""
    there = names(bucket)
    wanted = name.removesuffix(DUMP_SUFFIX)
    wanted = there[0] if name == NEWEST and there else wanted
    if wanted not in there:
        raise BackupProblem(f"there is no backup {name} here or in the bucket. ./naru backup --list shows all backups.")
    found = manifests.parse(bucket.read(wanted + SUFFIX), where=wanted + SUFFIX)
    if found.name != wanted:
        raise BackupProblem(f"{wanted}{SUFFIX} in the bucket is the manifest of {found.name}. Use another backup.")
    partial = shelf.partial(found.file)
    try:
        bucket.get(found.file, partial)
        shelf.keep(partial)
        shelf.write_manifest(found)
    except OSError as error:
        raise of_disk(error, where=shelf.folder) from None
    finally:
        partial.unlink(missing_ok=True)
    return found


def prune(bucket: Bucket, there: Copies, keep: Keep) -> list[str]:
    """Delete good copies that `keep` does not cover; return a line about each, and about each doubtful copy.

    Doubtful copies do not count and are not deleted. A bucket with its own retention may refuse to delete.
    """
    lines = [f"left {name} alone in the bucket {bucket.name}: {why}" for name, why in there.doubtful.items()]
    staying = kept([each.moment for each in there.good.values()], keep)
    for name, each in there.good.items():
        if each.moment in staying:
            continue
        try:
            bucket.delete(name + SUFFIX)
            bucket.delete(each.file)
        except BackupProblem as error:
            return [*lines, f"older backups stay in the bucket: {error}"]
        lines.append(f"removed {name} from the bucket {bucket.name}")
    return lines


def moment_of(name: str) -> datetime:
    """Return the moment in a backup's name. Raises ValueError."""
    return datetime.strptime(name, "naru-%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
