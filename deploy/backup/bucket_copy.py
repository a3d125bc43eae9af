"""The backups' copies in a bucket: what is there, what goes up, what comes down, what is thrown away.

The manifest goes up last and is deleted first: what has one is whole there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from deploy.backup import manifest as manifests
from deploy.backup.manifest import DUMP_SUFFIX, NAME, SUFFIX, Manifest
from deploy.backup.problem import BackupProblem, of_disk
from deploy.backup.retention import Keep, kept
from deploy.backup.s3 import Bucket
from deploy.backup.shelf import NEWEST, Shelf


def names(bucket: Bucket) -> list[str]:
    """The whole backups in the bucket, newest first."""
    there = set(bucket.list())
    found = {name.removesuffix(SUFFIX) for name in there if name.endswith(SUFFIX)}
    return sorted((name for name in found if _is_name(name) and name + DUMP_SUFFIX in there), reverse=True)


def _is_name(name: str) -> bool:
    """Whether it is a backup's, also its date: others may put into a bucket what they like."""
    try:
        return NAME.fullmatch(name) is not None and _moment_of(name) is not None
    except ValueError:
        return False


def upload_missing(bucket: Bucket, shelf: Shelf) -> Iterator[str]:
    """Copy what the bucket lacks, newest first; also what earlier runs could not copy, as long as it is here."""
    there = set(names(bucket))
    for each in shelf.all():
        if each.name in there:
            continue
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


def prune(bucket: Bucket, keep: Keep) -> list[str]:
    """Throw away what the rule does not keep; a line about each. A bucket that keeps all by its own rule may refuse."""
    there = {_moment_of(name): name for name in names(bucket)}
    staying = kept(there, keep)
    lines: list[str] = []
    for moment, name in there.items():
        if moment in staying:
            continue
        try:
            bucket.delete(name + SUFFIX)
            bucket.delete(name + DUMP_SUFFIX)
        except BackupProblem as error:
            return [*lines, f"older backups stay in the bucket: {error}"]
        lines.append(f"removed {name} from the bucket {bucket.name}")
    return lines


def _moment_of(name: str) -> datetime:
    return datetime.strptime(name, "naru-%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
