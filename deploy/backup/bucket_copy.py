"""The backups' copies in a bucket: what is there and believed, what goes up, what comes down, what is thrown away.

The manifest goes up last and is deleted first: what has one is whole there. A copy counts as good when its manifest is
sealed with our key and the bucket says the size that stands in it; the bytes themselves are looked at by the drill and
by a restore.
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

#: A manifest has some 2 KB; whatever is larger is none, and is not fetched.
LARGEST_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Copies:
    """What the bucket shows, by name: whole ones, of these those sealed with our key, and why others are not good."""

    whole: Mapping[str, Manifest]
    good: Mapping[str, Manifest]
    doubtful: Mapping[str, str]


def names(bucket: Bucket) -> list[str]:
    """The backups in the bucket by their names alone, newest first: who fetches one looks at it."""
    return _names(bucket.list())


def _names(there: Mapping[str, int]) -> list[str]:
    found = {name.removesuffix(SUFFIX) for name in there if name.endswith(SUFFIX)}
    return sorted((name for name in found if _is_name(name) and name + DUMP_SUFFIX in there), reverse=True)


def _is_name(name: str) -> bool:
    """Whether it is a backup's, also its date: others may put into a bucket what they like."""
    try:
        return NAME.fullmatch(name) is not None and _moment_of(name) is not None
    except ValueError:
        return False


def copies(bucket: Bucket, key: Key) -> Copies:
    """Look at every backup there, as far as that goes without fetching it: its manifest, its seal, its size."""
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
    """This copy is not believed."""


def _whole(bucket: Bucket, name: str, there: Mapping[str, int]) -> Manifest:
    if there[name + SUFFIX] > LARGEST_MANIFEST_BYTES:
        raise _Doubt("its manifest is none")
    try:
        text = bucket.read(name + SUFFIX)
    except Refused as error:
        raise _Doubt(f"its manifest is not given out ({error.code})") from None
    try:
        found = manifests.parse(text, where=name + SUFFIX)
    except BackupProblem:
        raise _Doubt("its manifest is none, or another version's") from None
    if found.name != name:
        raise _Doubt(f"its manifest is that of {found.name}")
    if there[found.file] != found.size:
        raise _Doubt(f"its file has {there[found.file]} bytes of {found.size}")
    return found


def upload_missing(bucket: Bucket, shelf: Shelf, there: Copies) -> Iterator[str]:
    """Copy what the bucket has no whole copy of, newest first; also what earlier runs could not, as long as it is here.

    What is there under the name and is another, or is cut, is replaced by the one here.
    """
    for each in shelf.all():
        if there.whole.get(each.name) != each:
            bucket.put(each.file, shelf.path(each))
            bucket.put(each.name + SUFFIX, shelf.folder / f"{each.name}{SUFFIX}")
            yield each.name


def fetch(bucket: Bucket, name: str, shelf: Shelf) -> Manifest:
    """Bring one backup (or the newest) here; its hash is looked at by whoever restores it."""
    there = names(bucket)
    wanted = name.removesuffix(DUMP_SUFFIX)
    wanted = there[0] if name == NEWEST and there else wanted
    if wanted not in there:
        raise BackupProblem(
            f"there is no backup {name} here or in the bucket: ./naru backup --list shows what there is."
        )
    found = manifests.parse(bucket.read(wanted + SUFFIX), where=wanted + SUFFIX)
    if found.name != wanted:
        raise BackupProblem(f"the bucket's {wanted}{SUFFIX} is the manifest of {found.name}: use another backup.")
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
    """Throw away good copies that the rule does not keep; a line about each, and about each that is not believed.

    What is not believed neither counts nor is thrown away. A bucket that keeps all by its own rule may refuse.
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


def _moment_of(name: str) -> datetime:
    return datetime.strptime(name, "naru-%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
