"""The host names that Naru answers to. Other names are refused, which stops DNS rebinding.

The attack: evil.test resolves to the attacker's server first and to 127.0.0.1 a minute later. The browser treats both
as one site, so the attacker's page could read Naru's. Only the Host header tells them apart.

An IP address in the Host header cannot be rebound, because nobody resolves it. A server that listens on all addresses
accepts every address: it cannot know its public one when a port is published or NAT is in use.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from ipaddress import ip_address

from shared.errors import SettingsError
from shared.settings import GUEST, Settings

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ALL_ADDRESSES = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


class KnownHosts:
    """Loopback names, the listening address, NARU_DOMAIN and NARU_ALLOWED_HOSTS, plus the machine's own name unless the
    server listens on loopback only."""

    def __init__(self, settings: Settings, *, listens_on: str | None = None) -> None:
        """`listens_on` is the server's address if it is not NARU_HOST."""
        address = _plain(settings.host if listens_on is None else listens_on)
        allowed = [_plain(each) for each in re.split(r"[\s,]+", f"{settings.allowed_hosts},{settings.domain}") if each]
        self._takes_any = "*" in allowed
        self._takes_addresses = address in ALL_ADDRESSES
        self._suffixes = tuple(each.removeprefix("*") for each in allowed if each.startswith((".", "*.")))
        own = () if is_loopback(address) else _own_names()
        self._names = {*LOOPBACK, address, *own, *(each.removeprefix(".") for each in allowed)} - {""}

    def knows(self, host: str | None) -> bool:
        """Whether to answer a request with this Host header. Its port is ignored, because it may be forwarded."""
        if self._takes_any:
            return True
        name = name_in(host)
        if name is None:
            return False
        return (
            name in self._names
            or name.endswith(self._suffixes)
            or (self._takes_addresses and _address(name) is not None)
        )


def name_in(host: str | None) -> str | None:
    """Return the name or address in a Host header, in lower case, without port; None for a malformed one."""
    found = _HOST.fullmatch(host or "")
    if found is None:
        return None
    if found["v6"] is not None:
        return _address(found["v6"])
    return _plain(found["name"])


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server that listens on this address."""
    known = _address(address)
    return address == "localhost" if known is None else ip_address(known).is_loopback


def _plain(name: str) -> str:
    """Normalize for comparison: an address in its short form, a name in lower case and IDNA."""
    bare = name.strip().removeprefix("[").removesuffix("]").rstrip(".").lower()
    if not bare.isascii():
        with suppress(UnicodeError):  # no request can carry such a name
            bare = bare.encode("idna").decode()
    return _address(bare) or bare


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _own_names() -> tuple[str, ...]:
    """Return the machine's name, its short form and its mDNS name. Does not ask DNS, which may take seconds."""
    name = _plain(socket.gethostname())
    short = name.partition(".")[0]
    return (name, short, f"{short}.local") if short else ()


def refuse_open_guests(settings: Settings, *, listens_on: str) -> None:
    """Raise SettingsError for a page that other machines reach and that asks nobody to sign in, unless that is wanted.

    Anyone who reaches such a page spends the operator's keys.
    """
    if settings.auth == GUEST and not settings.open_to_anyone and not is_loopback(listens_on):
        raise SettingsError(
            f"the page would listen on {listens_on or 'all addresses'}, where anyone can use it without an account. "
            "Set NARU_AUTH=local, and make the first account with ./naru people invite. To let anyone in all the "
            "same, set NARU_OPEN_TO_ANYONE=true."
        )
