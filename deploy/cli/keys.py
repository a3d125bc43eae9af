"""`./naru keys`: replace the key that signs the browsers' cookies, without anyone losing their conversations.

It changes the data folder of `./naru up`. With NARU_SECRET_KEY or compose the key is elsewhere, and an error says what
to do there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deploy import terminal
from deploy.embedded.data import DataProblem, Secrets, change_secrets, running_on
from shared.errors import SettingsError
from shared.keys import key_id, keys_in, new_key
from shared.settings import load_settings

#: The key that signs, and the two before it. More would only help cookies that nobody has sent for a long time.
KEPT_KEYS = 3
ELSEWHERE = (
    "NARU_SECRET_KEY is set, so the keys in the data folder are not used. Make a new key (openssl rand -hex 32), put "
    "it and a comma before the present value, and restart Naru. For compose see docs/operations/security.md"
)


def rotate(data: Path) -> int:
    """Add a new signing key; return the exit code."""
    return _carry_out(data, lambda keys: (new_key(), *keys[: KEPT_KEYS - 1]))


def drop(data: Path) -> int:
    """Drop all keys but the newest; return the exit code."""
    return _carry_out(data, lambda keys: keys[:1])


def _carry_out(data: Path, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> int:
    def changed(secrets: Secrets) -> Secrets:
        return replace(secrets, secret_key=",".join(change(keys_in(secrets.secret_key))))

    try:
        if load_settings().secret_key:
            raise DataProblem(ELSEWHERE)
        old, new = change_secrets(data, changed)
    except (DataProblem, SettingsError) as error:
        sys.stderr.write(f"naru keys: {terminal.line(str(error))}\n")
        return 1
    print("\n".join(_report(keys_in(old.secret_key), keys_in(new.secret_key), is_running=running_on(data) is not None)))
    return 0


def _report(old: tuple[str, ...], new: tuple[str, ...], *, is_running: bool) -> list[str]:
    """Return the lines to print. They contain ids of keys, never a key."""
    lines = [f"Key {key_id(new[0])} signs the browsers' cookies."]
    if len(new) > 1:
        lines.append(f"Older keys that verify: {', '.join(map(key_id, new[1:]))}. ./naru keys drop removes them.")
    if gone := [key_id(key) for key in old if key not in new]:
        lines.append(f"Dropped: {', '.join(gone)}. A browser that has not visited since then gets a new identity.")
    if old == new:
        lines.append("Nothing was changed.")
    elif is_running:
        lines.append("Naru is still running with the old keys. Restart it: ./naru up")
    return lines
