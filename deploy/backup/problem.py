"""What goes wrong on purpose in a backup or a restore: one sentence with what to do."""

from __future__ import annotations

import errno


class BackupProblem(Exception):
    """It could not be done; the message says why, what is as it was, and what to do."""


class Unsure(BackupProblem):
    """The server went away in the one moment in which that leaves open whether it was done."""


def of_disk(error: OSError, *, where: object) -> BackupProblem:
    """A file could not be written or read, in words."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return BackupProblem(f"the disk of {where} is full ({error.strerror}): make room, or name another folder.")
    return BackupProblem(f"{where} cannot be used ({error.strerror or error}): look at the folder and its rights.")
