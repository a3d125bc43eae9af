"""The errors of a backup or a restore. Each is one sentence that says what to do."""

from __future__ import annotations

import errno


class BackupProblem(Exception):
    """A backup or a restore failed; the message says why, and what to do."""


class Unsure(BackupProblem):
    """The server went away during the commit, so nobody knows whether the swap was done."""


def of_disk(error: OSError, *, where: object) -> BackupProblem:
    """Describe a file error as a BackupProblem about `where`."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return BackupProblem(
            f"the disk of {where} is full ({error.strerror}). Free some space, or choose another folder."
        )
    return BackupProblem(f"{where} cannot be used ({error.strerror or error}). Check the folder and its permissions.")
