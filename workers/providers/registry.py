"""The registry of models: which ones this worker offers, and which provider serves each.

The providers come from the environment and from providers.toml (`instances.py`, `file.py`), which is read again when it
changes. NARU_MODELS lists the offers of the environment's providers. If it is empty, they are the default models of
each vendor that has a key, the models that servers list, and the demo simulator if its address is set. The offers are
stored in the worker's row, where the page's picker reads them. Facts about each vendor are in shared/vendors.py, the
sizes of models in `catalogue`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from shared.errors import ModelNotFound, SettingsError
from shared.lifecycle.rates import NO_RATE, Rate
from shared.settings import Settings, environment
from workers.providers.anthropic.adapter import AnthropicProvider
from workers.providers.base import Provider
from workers.providers.defaults import Defaults
from workers.providers.fallbacks import Chains, chains_in
from workers.providers.file import Content, Mistake, fingerprint, read_providers
from workers.providers.instances import Instance, of_environment, together
from workers.providers.knowledge import Knowledge, Known
from workers.providers.listing import (
    LISTING_SECONDS,
    SENTENCES,
    Listed,
    Listing,
    ListingFailed,
    Problem,
    addresses_to_try,
    list_models,
)
from workers.providers.offers import Absent, Offer, offer_of, parse_names, provider_name
from workers.providers.ollama.adapter import OllamaProvider
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.openai.responses import ResponsesProvider
from workers.providers.pool import Pool

log = logging.getLogger(__name__)

Adapter = OpenAIProvider | AnthropicProvider | OllamaProvider
#: The adapter of each vendor.
ADAPTERS: Mapping[str, Callable[..., Adapter]] = {
    "openai": OpenAIProvider,
    "anthropic": AnthropicProvider,
    "ollama": OllamaProvider,
    "demo": OpenAIProvider,
}
#: Pauses between two rounds of discovery. They grow while a configured server has not answered; afterwards they are
#: steady, to find new models.
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0
STEADY_PAUSE_SECONDS = 180.0
#: How long a server may take for its list while a worker starts.
FIRST_LISTING_SECONDS = 3.0
#: How often it looks whether providers.toml has changed.
LOOK_SECONDS = 2.0
#: How often it reads a providers.toml that has a mistake and has not changed.
REREAD_SECONDS = 60.0


class Registry:
    """The offers of this process, and its providers; each provider is created on first use."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError if NARU_MODELS names a model that cannot be served.

        A mistake in providers.toml leaves its providers out, and the others work.
        """
        self._environment = of_environment(settings)
        self._named = parse_names(settings.models, self._environment)
        self._path = Path(settings.providers_file) if settings.providers_file else None
        #: The files that were read, as they were then, on the monotonic clock.
        self._files: tuple[Path, ...] = ()
        #: The chains of NARU_FALLBACK, and those of the file.
        self._chains = chains_in(settings.fallback, None if self._path else self._environment)
        self._chains_of_file: Chains = {}
        self._defaults = Defaults()
        self._seen: tuple[object, ...] = ()
        self._read_at = 0.0
        #: The mistake in providers.toml; empty if there is none.
        self.complaint = ""
        self._instances: Mapping[str, Instance] = self._environment
        self._listings: dict[str, Listing] = {}
        self._problems: dict[str, Problem] = {}
        self._have_all_answered = False
        self._providers: dict[str, Adapter | Pool] = {}
        #: The facts that servers have taught about their models.
        self.knowledge = Knowledge(self._servers)
        self._retired: list[Adapter | Pool] = []
        self._offers: tuple[Offer, ...] = ()
        self._absent: tuple[Absent, ...] = ()
        self._take(*self._read())
        self._settle()

    async def discover(self, *, seconds: float = FIRST_LISTING_SECONDS) -> None:
        """Ask the servers for their models. Each may take `seconds`, but an Ollama that nobody configured much less.

        A server that does not answer in time keeps its last list; one that never answered offers nothing. Never raises.
        """
        asked = [each for each in self._instances.values() if self._is_asked(each)]
        found = await asyncio.gather(*(self._ask(each, seconds) for each in asked))
        for each, (listing, problem) in zip(asked, found, strict=True):
            if self._instances.get(each.name) != each:
                continue  # the file changed meanwhile
            self._note(each, listing, problem)
        self._settle()
        wanted = [problem for each, (_, problem) in zip(asked, found, strict=True) if each.is_wanted]
        self._have_all_answered = not any(wanted) and bool(self._offers)

    async def keep_discovering(self, changed: Callable[[], None]) -> None:
        """Repeat `discover` until cancelled, read providers.toml when it changes, and call `changed` after each change
        of the offers or the providers.
        """
        if self._path is None and not any(map(self._is_asked, self._instances.values())):
            return
        pause, last = FIRST_PAUSE_SECONDS, self._state()
        while True:
            is_new = False
            try:
                is_new = await self._await_file(STEADY_PAUSE_SECONDS if self._have_all_answered else pause)
                await self.discover(seconds=LISTING_SECONDS)
                if (now := self._state()) != last:
                    log.info("the models on offer have changed", extra=_first(self._offers))
                    last = now
                    changed()
                    await self._warm_new()
            except Exception:
                # Without this loop, the worker would never again hear of a new model.
                log.exception("a round of discovery failed")
                await asyncio.sleep(LOOK_SECONDS)
            is_calm = is_new or self._have_all_answered
            pause = FIRST_PAUSE_SECONDS if is_calm else min(2 * pause, LONGEST_PAUSE_SECONDS)

    def offers(self) -> tuple[Offer, ...]:
        """Return the current offers; the first is the default of a new conversation."""
        return self._offers

    def configured(self) -> tuple[str, ...]:
        """Return the names of the providers, as they appear before the slash in a model's name."""
        return tuple(self._instances)

    def limits(self) -> dict[str, int]:
        """Return the limits that providers.toml sets, by provider."""
        return {name: each.in_flight for name, each in self._instances.items() if each.in_flight is not None}

    def rates(self) -> dict[str, Rate]:
        """Return the limits per minute that providers.toml sets, by provider."""
        return {name: each.rate for name, each in self._instances.items() if each.rate != NO_RATE}

    def instances(self) -> Mapping[str, Instance]:
        """Return the providers by name."""
        return self._instances

    def chains(self) -> Chains:
        """Return the chains of models that stand in for each other, by their first one."""
        return {**self._chains, **self._chains_of_file}

    def behind(self, asked: str, present: str) -> tuple[str, ...]:
        """Return the models behind `present` in the chain of `asked`."""
        chain = self._chains_of_file.get(asked) or self._chains.get(asked, ())
        return chain[chain.index(present) + 1 :] if present in chain else ()

    def defaults(self) -> Defaults:
        """Return the defaults of models."""
        return self._defaults

    def problems(self) -> dict[str, Problem]:
        """Return why providers offer no model, by name."""
        found = {name: problem for name, problem in self._problems.items() if name not in self._listings}
        return {name: problem for name, problem in found.items() if self._instances[name].is_wanted}

    def absent(self) -> tuple[Absent, ...]:
        """Return the providers that somebody configured and that offer no model; a mistake in the file comes first.

        Other threads may call this: the tuple is replaced, never changed.
        """
        return self._absent

    def provider_for(self, name: str) -> tuple[Provider, str]:
        """Return the provider of the offer `name`, and the provider's own name of the model. Raises ModelNotFound.

        Any model of a configured provider is served, offered or not: a conversation may have begun with it.
        """
        key, _, model = name.partition("/")
        if key not in self._instances or not model:
            raise ModelNotFound(f"{key}: this worker does not serve it")
        return self._provider(key), model

    def members_for(self, name: str) -> list[Provider]:
        """Return the provider of the offer `name`, or each member of its pool. Raises ModelNotFound."""
        provider, _ = self.provider_for(name)
        return list(provider.providers) if isinstance(provider, Pool) else [provider]

    def background_providers(self) -> list[str]:
        """Return the names of the providers whose calls go on when nobody reads them."""
        return [name for name, each in self._instances.items() if each.has_responses]

    def runs_in_background(self, name: str) -> bool:
        """Whether the calls of the model `name` go on when nobody reads them."""
        return name.partition("/")[0] in self.background_providers()

    async def warm(self) -> None:
        """Import the SDKs and make the clients of the offers in advance, so that no question waits for it."""
        for key in dict.fromkeys(each.name.partition("/")[0] for each in self._offers):
            await self._provider(key).warm()

    async def _warm_new(self) -> None:
        try:
            await self.warm()
        except Exception:  # its certificates or its SDK may be missing; a question then tells
            log.exception("a provider's client cannot be made in advance")

    async def close(self) -> None:
        """Close all providers' connections."""
        providers, self._providers = [*self._providers.values(), *self._retired], {}
        await asyncio.gather(*(each.close() for each in providers))

    def _provider(self, key: str) -> Adapter | Pool:
        if key not in self._providers:
            members = [self._make(each) for each in self._instances[key].members]
            self._providers[key] = Pool(members) if len(members) > 1 else members[0]
        return self._providers[key]

    def _make(self, each: Instance) -> Adapter:
        adapter = ResponsesProvider if each.has_responses else ADAPTERS[each.vendor.name]
        return adapter(
            provider_name(each.name),
            api_key=each.api_key,
            base_url=f"{self._address_of(each)}{each.vendor.api_path}",
            ca_file=each.ca_file,
            known=Known(self.knowledge, each.name, self._instances[each.name].servers),
        )

    def _address_of(self, each: Instance) -> str:
        """Return the address of a member, in the form in which it, or another member, has listed its models."""
        listing = self._listings.get(each.name)
        for member in self._instances[each.name].members if listing else ():
            tries, own = addresses_to_try(member), addresses_to_try(each)
            if listing is not None and listing.address in tries:
                return own[min(tries.index(listing.address), len(own) - 1)]
        return each.base

    async def _await_file(self, seconds: float) -> bool:
        """Wait, or until providers.toml has changed; then take it. Return whether anything changed."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK_SECONDS))
            if self._path is not None and await asyncio.to_thread(self._is_file_new):
                before = self._taken()
                self._take(*await asyncio.to_thread(self._read))
                if self._taken() != before:
                    return True
        return False

    def _is_file_new(self) -> bool:
        """Whether the file or one that it names has changed since it was read.

        A bad file counts as new once in REREAD_SECONDS: the process may only have had too many open files.
        """
        is_due = bool(self.complaint) and time.monotonic() - self._read_at > REREAD_SECONDS
        return is_due or self._seen != fingerprint(self._files)

    def _read(self) -> tuple[Content | SettingsError, tuple[Path, ...], tuple[object, ...]]:
        """Read providers.toml. Return also the files that were read, and their fingerprint."""
        if self._path is None:
            return Content((), ()), (), ()
        watched = (self._path, *self._files[1:])
        before = fingerprint(watched)  # a change while it is read makes it new again
        read: Content | SettingsError
        files: tuple[Path, ...] = ()
        try:
            read = read_providers(self._path, environment(), self._environment)
            files = read.files
            together(self._environment, read.instances)
        except SettingsError as error:
            read = error
            files = error.files if isinstance(error, Mistake) else files
        now = (self._path, *files)
        return read, now, before if now == watched else (before[0], *fingerprint(files))

    def _take(self, read: Content | SettingsError, files: tuple[Path, ...], seen: tuple[object, ...]) -> None:
        """Take the file's providers. A file with a mistake changes nothing."""
        self._files, self._seen, self._read_at = files, seen, time.monotonic()
        if isinstance(read, SettingsError):
            if self.complaint != str(read):
                log.warning("providers.toml has a mistake, and changes nothing", extra={"reason": str(read)})
            self.complaint = str(read)
            self._settle_absent()
            return
        before, self._instances = self._instances, together(self._environment, read.instances)
        self._chains_of_file, self._defaults = read.fallbacks, read.defaults
        self.complaint = ""
        for name in [name for name, each in before.items() if self._instances.get(name) != each]:
            self._forget(name)
        for name, each in self._instances.items():
            if name not in before or before[name].servers.isdisjoint(each.servers):
                self.knowledge.forget(name)
        self._settle_absent()

    def _servers(self) -> Mapping[str, frozenset[str]]:
        return {name: each.servers for name, each in self._instances.items()}

    def _forget(self, name: str) -> None:
        """Drop what belongs to an instance that has changed. Answers under way keep its provider, closed at the end."""
        self._listings.pop(name, None)
        self._problems.pop(name, None)
        if name in self._providers:
            self._retired.append(self._providers.pop(name))

    def _is_asked(self, each: Instance) -> bool:
        return each.lists_models and not (self._named and self._is_of_environment(each))

    def _is_of_environment(self, each: Instance) -> bool:
        return self._environment.get(each.name) is each

    async def _ask(self, each: Instance, seconds: float) -> tuple[Listing | None, Problem | None]:
        """Ask all members at once, and take the list of the first that has one."""
        seconds = seconds if each.is_wanted else each.vendor.listing_seconds
        found = await asyncio.gather(*(self._ask_member(member, seconds) for member in each.members))
        listings = [listing for listing, _ in found if listing is not None]
        return (listings[0], None) if listings else found[0]

    async def _ask_member(self, each: Instance, seconds: float) -> tuple[Listing | None, Problem | None]:
        try:
            return await list_models(each, seconds=seconds), None
        except ListingFailed as error:
            log.info("%s listed no models", each.name, extra={"reason": SENTENCES[error.problem]})
            return None, error.problem
        except Exception:
            log.exception("%s could not be asked for its models", each.name)
            return None, Problem.UNREACHABLE

    def _note(self, each: Instance, listing: Listing | None, problem: Problem | None) -> None:
        """Keep a list; without one, the last, or for a gateway that has no lists the vendor's default models."""
        if problem is Problem.NO_LIST and each.vendor.needs_key and each.name not in self._listings:
            listing, problem = Listing(each.base, tuple(map(Listed, each.vendor.default_models))), None
        if problem is not None:
            self._problems[each.name] = problem
        if listing is None:
            return
        self._problems.pop(each.name, None)
        before, self._listings[each.name] = self._listings.get(each.name), listing
        known = [before.address] if before else [member.base for member in each.members]
        is_elsewhere = listing.address not in known
        if is_elsewhere and each.name in self._providers:
            self._retired.append(self._providers.pop(each.name))

    def _settle(self) -> None:
        named = [self._offer(self._environment[key], Listed(model)) for key, model in self._named]
        others = [offer for each in self._instances.values() for offer in self._offers_of(each)]
        self._offers = (*named, *others)
        self._settle_absent()

    def _settle_absent(self) -> None:
        of_file = [Absent("providers.toml", Problem.BAD_FILE)] if self.complaint else []
        found = (Absent(self._instances[name].title, problem) for name, problem in self.problems().items())
        self._absent = (*of_file, *found)

    def _offers_of(self, each: Instance) -> list[Offer]:
        """Return the offers of an instance, without those of NARU_MODELS."""
        if self._named and self._is_of_environment(each):
            return []
        if each.models or not each.lists_models:
            return [self._offer(each, Listed(model)) for model in each.models or each.vendor.default_models]
        listing = self._listings.get(each.name)
        return [self._offer(each, model) for model in (listing.models if listing else self._in_chains(each))]

    def _offer(self, each: Instance, model: Listed) -> Offer:
        return offer_of(each, model, self._defaults.of(f"{each.name}/{model.name}"))

    def _in_chains(self, each: Instance) -> tuple[Listed, ...]:
        """Return the models of an instance that chains name: they are on offer before their server has listed any."""
        named = dict.fromkeys(model for chain in self.chains().values() for model in chain)
        return tuple(Listed(model.partition("/")[2]) for model in named if model.partition("/")[0] == each.name)

    def _state(self) -> tuple[object, ...]:
        return self._offers, self.absent(), *self._taken()

    def _taken(self) -> tuple[object, ...]:
        """Return what comes from providers.toml."""
        return self._instances, self.complaint, self.chains(), self._defaults


def _first(offers: tuple[Offer, ...]) -> dict[str, list[str]]:
    """Return as many names as fit into a line of the log."""
    return {"models": [each.name for each in offers[:50]]}
