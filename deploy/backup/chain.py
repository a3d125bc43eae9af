"""A pipeline of programs with a time limit. The programs end together, whatever happens.

Only the first error line of a program is reported: the lines below it may quote a row.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Self

from deploy.backup.problem import BackupProblem
from deploy.embedded.processes import die_with_parent

LONGEST_REASON = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program: its display name, its command line, and a secret that it reads from its own file descriptor."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    #: Replaces {secret} in argv by the descriptor's number.
    secret: str = field(default="", repr=False)


class ProgramFailed(BackupProblem):
    """One of the programs failed."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


class Chain:
    """Starts the programs on entry. `out` is the output of the last one; `finish` waits for all and raises errors."""

    def __init__(self, *programs: Program, source: IO[bytes] | None = None, seconds: float) -> None:
        self._programs, self._source, self._seconds = programs, source, seconds
        self._children: list[subprocess.Popen[bytes]] = []
        self._errors: list[IO[bytes]] = []
        self._timed_out = threading.Event()
        self._watch = threading.Timer(seconds, self._give_up)

    def __enter__(self) -> Self:
        before: IO[bytes] | int = self._source or subprocess.DEVNULL
        try:
            for program in self._programs:
                before = self._start(program, before)
        except BaseException:
            self._end()
            raise
        self._watch.daemon = True
        self._watch.start()
        return self

    def _start(self, program: Program, before: IO[bytes] | int) -> IO[bytes]:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the chain
        self._errors.append(errors)
        secret = _pipe_with(program.secret) if program.secret else None
        try:
            child = subprocess.Popen(
                [word.replace("{secret}", str(secret)) for word in program.argv],
                env=dict(program.environ),
                stdin=before,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=() if secret is None else (secret,),
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it only makes system calls
            )
        except OSError as error:
            raise ProgramFailed(program.name, f"cannot be started ({error.strerror})") from None
        finally:
            if secret is not None:
                os.close(secret)
        if self._children and not isinstance(before, int):
            before.close()  # the child holds it now, so the program before it notices when that child ends
        self._children.append(child)
        return _output_of(child)

    @property
    def out(self) -> IO[bytes]:
        """The output of the last program."""
        return _output_of(self._children[-1])

    def finish(self, *, early_end: bool = False) -> None:
        """Wait for every program. Raises ProgramFailed, or BackupProblem after the time limit.

        `early_end`: the last program may stop reading early, so only its own exit code counts.
        """
        codes = [child.wait() for child in self._children]
        if self._timed_out.is_set():
            raise BackupProblem(
                f"it took longer than {self._seconds:g} s and was aborted. Check the server and the disk, "
                "or raise NARU_BACKUP_SECONDS."
            )
        # A program that a signal ended was cut off by another one's failure: blame that one first.
        ends = list(zip(self._programs, self._errors, codes, strict=True))[-1 if early_end else 0 :]
        for program, errors, code in sorted(ends, key=lambda end: end[2] < 0):
            if code != 0:
                raise ProgramFailed(program.name, _reason(errors, code))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._watch.cancel()
        self._kill()
        for child in self._children:
            child.wait()
            _output_of(child).close()
        for errors in self._errors:
            errors.close()

    def _give_up(self) -> None:
        self._timed_out.set()
        self._kill()

    def _kill(self) -> None:
        for child in self._children:
            child.kill()


def _output_of(child: subprocess.Popen[bytes]) -> IO[bytes]:
    if child.stdout is None:
        raise RuntimeError("every program of a chain writes to a pipe")
    return child.stdout


def _pipe_with(secret: str) -> int:
    """Return the reading end of a pipe that holds the secret."""
    reading, writing = os.pipe()
    os.write(writing, secret.encode() + b"\n")
    os.close(writing)
    return reading


def _reason(errors: IO[bytes], code: int) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors.read(20_000).decode(errors="replace").splitlines() if line.strip()]
    told = next((line for line in lines if "error" in line.lower() or "fatal" in line.lower()), None)
    fallback = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return (told or (lines[0] if lines else fallback))[:LONGEST_REASON]
