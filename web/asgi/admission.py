"""Limit the open WebSockets: per owner, per address, without an identity, and in the process.

For the event loop's thread only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from shared.people import Owner
from shared.settings import Settings
from web.limits import RateLimit


@dataclass(frozen=True, slots=True)
class Guest:
    """The client that a socket counts against: its owner, or its address if it has no valid identity."""

    owner: Owner | None
    address: str

    @property
    def key(self) -> str:
        """The key under which turns and openings are counted."""
        return self.owner.key if self.owner else f"address:{self.address}"


class Admission:
    """Counts the open sockets. Each guest that is `let_in` must be `let_out` once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._open: Counter[str] = Counter()
        self._openings = RateLimit(settings.socket_openings_per_minute)

    @property
    def total(self) -> int:
        """The number of open sockets."""
        return self._open["all"]

    def let_in(self, guest: Guest) -> str | None:
        """Count the socket and return None, or return the reason for refusing it."""
        settings = self.settings
        bounds = {
            "process": (self._open["all"], settings.sockets),
            "address": (self._open[f"address:{guest.address}"], settings.sockets_per_address),
            "identity": (self._open["nobody"], settings.sockets_without_identity)
            if guest.owner is None
            else (0, settings.sockets),
            "owner": (self._open[guest.key], settings.sockets_per_owner),
        }
        for reason, (count, most) in bounds.items():
            if count >= most:
                return reason
        if self._openings.take(guest.key):
            return "openings"
        self._open.update(self._names(guest))
        return None

    def let_out(self, guest: Guest) -> None:
        """Stop counting a closed socket."""
        for name in self._names(guest):
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    def _names(self, guest: Guest) -> set[str]:
        return {"all", f"address:{guest.address}", guest.key, *(() if guest.owner else ("nobody",))}
