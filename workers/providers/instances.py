"""Provider instances: a server with its address, its key and the models that it offers.

The environment gives at most one for each vendor, `providers.toml` any number (`file.py`). The part before the slash in
a model's name is the instance's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from shared.errors import SettingsError
from shared.lifecycle.rates import NO_RATE, Rate
from shared.settings import Settings
from shared.vendors import VENDORS, Vendor

_DEFAULTS = Settings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One provider. A text that does not apply is empty."""

    name: str
    #: Its kind: the wire format, and the path and headers of its list of models.
    vendor: Vendor
    #: The name that people see.
    title: str
    api_key: str = field(default="", repr=False)
    #: Without a slash at the end; empty for the vendor's own.
    address: str = ""
    #: The same provider with its other keys or addresses; each answer takes one of them (`pool.py`).
    others: tuple[Instance, ...] = ()
    #: The models on offer. If there are none, they are those that the server lists, or else the vendor's defaults.
    models: tuple[str, ...] = ()
    #: Patterns of the listed models to offer, and of those to leave out, as in `gpt-*`.
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    #: Most answers at once over all workers; None for no limit.
    in_flight: int | None = None
    #: Most requests and tokens of a minute over all workers.
    rate: Rate = NO_RATE
    #: The certificates to trust instead of the system's.
    ca_file: str = ""
    #: Whether its calls are OpenAI Responses in background instead of Chat Completions.
    has_responses: bool = False
    #: Whether the workers ask it for its models.
    lists_models: bool = False
    #: Whether somebody configured it. Naru also looks for Ollama at its default address.
    is_wanted: bool = True

    @property
    def members(self) -> tuple[Instance, ...]:
        """This instance and its others."""
        return (self, *self.others)

    def part(self, place: int) -> str:
        """Return " (2 of 3, http://gpu2:8000)" for the second of three members; "" if there is only one. No key."""
        if not self.others:
            return ""
        return f" ({place} of {len(self.members)}, {self.members[place - 1].server})"

    @property
    def base(self) -> str:
        """The address to call, without the path of the API."""
        return self.address or self.vendor.default_address

    @property
    def server(self) -> str:
        """The scheme, host and port of its address; the other parts may be secret."""
        parts = urlsplit(self.base)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def servers(self) -> frozenset[str]:
        """A short hash for each server: of its kind and address, without user name and password.

        What was learnt about a model holds while the provider keeps one of its servers.
        """
        return frozenset(map(_hash_of, self.members))

    def takes(self, model: str) -> bool:
        """Whether the patterns let it offer a listed model."""
        is_included = not self.include or _matches(model, self.include)
        return is_included and not _matches(model, self.exclude)


def of_environment(settings: Settings) -> dict[str, Instance]:
    """Return the vendors that the environment configures, by name, in the order of their offers."""
    found: dict[str, Instance] = {}
    for vendor in VENDORS:
        api_key, address = vendor.key_in(settings), vendor.address_in(settings)
        if api_key or (address and not vendor.needs_key):
            found[vendor.name] = Instance(
                name=vendor.name,
                vendor=vendor,
                title=vendor.title,
                api_key=api_key,
                address=address,
                lists_models=vendor.lists_models and bool(address),
                is_wanted=bool(api_key) or address != vendor.address_in(_DEFAULTS),
            )
    return found


def together(environment: dict[str, Instance], of_file: Iterable[Instance]) -> dict[str, Instance]:
    """Return the instances of both sources. Raises SettingsError for a name that both have.

    An Ollama that nobody configured gives way to the file's.
    """
    added = {each.name: each for each in of_file}
    for name in environment.keys() & added.keys():
        if environment[name].is_wanted:
            raise SettingsError(
                f"providers.toml has a provider {name!r}, and the environment sets {_variables(environment[name])}. "
                "Rename the one in the file, or unset the variable."
            )
    demo = {name: each for name, each in environment.items() if each.vendor.is_demo}
    return {name: each for name, each in environment.items() if name not in added and name not in demo} | added | demo


def _variables(instance: Instance) -> str:
    vendor = instance.vendor
    return vendor.key_variable if instance.api_key else vendor.address_variable


def _hash_of(member: Instance) -> str:
    text = f"{member.vendor.name} {member.server.lower()}{urlsplit(member.base).path}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _matches(model: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)
