"""Hash and check passwords, and refuse those that are easily guessed.

argon2id with the parameters that argon2-cffi recommends (RFC 9106, section 4, second choice: 64 MiB). Two threads hash
for the whole process, so a crowd that signs in waits instead of filling the memory.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.errors import PasswordTooEasy, PasswordTooLong, PasswordTooShort, Unavailable

#: NIST SP 800-63B and ASVS 5.0, 6.2: at least 8, and long ones must be possible.
SHORTEST, LONGEST = 8, 256
#: zxcvbn's score from 0 to 4; below 2 fewer than a million guesses are enough.
LEAST_SCORE = 2
#: zxcvbn judges this many characters. Its time grows fast with the length: 20 take at most 0.05 s, 72 take 5 s.
_JUDGED = 20
#: More would wait for longer than a person does.
MOST_WAITING = 40

_hasher = PasswordHasher()
_hashing = ThreadPoolExecutor(2, thread_name_prefix="passwords")
#: A pool of its own: new passwords must not keep anyone from signing in.
_judging = ThreadPoolExecutor(1, thread_name_prefix="judging")
_T = TypeVar("_T")
_waiting: Counter[Executor] = Counter()


async def hash_password(password: str) -> str:
    """Return the hash of a new password. Raises Unavailable when too many wait."""
    return await _run(lambda: _hasher.hash(password))


async def is_right(password: str, password_hash: str | None) -> bool:
    """Whether it is the password with this hash. Without a hash it takes as long, and the answer is no.

    Raises Unavailable when too many wait.
    """
    return await _run(lambda: _verify(password, password_hash or _dummy_hash()) and password_hash is not None)


async def refuse_weak(password: str, *known: str) -> None:
    """Raise PasswordTooShort, PasswordTooLong or PasswordTooEasy. `known` are texts that others know of the person.

    Their words count too: the name of the company in an e-mail address is an easy guess.
    """
    if len(password) < SHORTEST:
        raise PasswordTooShort
    if len(password) > LONGEST:
        raise PasswordTooLong
    if await _run(lambda: _score(password, known), _judging) < LEAST_SCORE:
        raise PasswordTooEasy


def _verify(password: str, password_hash: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _dummy_hash() -> str:
    return _hasher.hash("the password of nobody")


def _score(password: str, known: tuple[str, ...]) -> int:
    # Loading its word lists takes 0.1 s and 20 MB, in a process in which somebody chooses a password.
    from zxcvbn import zxcvbn  # noqa: PLC0415

    words = ["naru", *known, *(part for each in known for part in (*each.split("@"), *re.split(r"[\W_]+", each)))]
    return int(zxcvbn(password[:_JUDGED], user_inputs=words)["score"])


async def _run(work: Callable[[], _T], threads: Executor = _hashing) -> _T:
    if _waiting[threads] >= MOST_WAITING:
        raise Unavailable
    _waiting[threads] += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
    finally:
        _waiting[threads] -= 1
