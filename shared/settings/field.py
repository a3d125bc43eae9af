"""The declaration of one setting, and the name of its environment variable."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from shared.vendors import WITH_KEY

#: The largest number of any setting: beyond it clocks, sockets and Postgres's intervals overflow.
MOST = 1_000_000_000
LAST_PORT = 65_535
#: Settings whose variables other software uses too; all other variables begin with NARU_.
PLAIN_NAMES = {"database_url", "redis_url", *(name for vendor in WITH_KEY for name in vendor.settings)}

#: Whether a rule between settings holds, and the error message if it does not.
Rule = tuple[bool, str]


def setting(
    default: Any, doc: str, *, least: float | None = None, most: float = MOST, secret: bool = False, kind: str = ""
) -> Any:
    """Return a dataclass field for one setting.

    `doc` is its entry in README's table. `least` and `most` bound a number. `kind` is the format of a text, one of
    those in shared/addresses.py. A `secret` is left out of the settings' repr.
    """
    return field(
        default=default,
        repr=not secret,
        metadata={"doc": doc, "least": least, "most": most, "secret": secret, "kind": kind},
    )


def variable_of(name: str) -> str:
    """Return the environment variable of the setting `name`."""
    return name.upper() if name in PLAIN_NAMES else f"NARU_{name.upper()}"
