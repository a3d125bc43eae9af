"""The registry of models: which ones this worker offers, and which provider serves each.

NARU_MODELS lists the offers. If it is empty, they are the default models of each provider that has a key, the models
that compatible servers and Ollama list, and the demo simulator if its address is set. The offers are stored in the
worker's row, where the page's picker reads them. Facts about each vendor are in shared/vendors.py, the sizes of models
in `catalogue`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from shared.errors import ModelNotFound, SettingsError
from shared.settings import Settings
from shared.vendors import DEMO, VENDORS, Vendor
from workers.providers.anthropic.adapter import AnthropicProvider
from workers.providers.base import Provider
from workers.providers.catalogue import size_of
from workers.providers.knowledge import Knowledge, Known
from workers.providers.ollama.adapter import OllamaProvider
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.sdk.provider import is_loopback

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
_DEFAULTS = Settings()
_LISTING_BYTES = 4_000_000
_MAX_LISTED = 50


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that this worker can serve. `name` is `provider/model`, as in NARU_MODELS and in the rows."""

    name: str
    provider: str
    context_tokens: int | None
    max_output_tokens: int | None
    demo: bool = False


@dataclass(frozen=True, slots=True)
class _Configured:
    """A vendor that the settings configure, with its key and address; either may be empty."""

    vendor: Vendor
    api_key: str
    address: str

    @property
    def listing_url(self) -> str:
        """The URL of the vendor's list of models; empty if the workers do not ask for it."""
        vendor = self.vendor
        return f"{self.address}{vendor.models_path}" if vendor.lists_models and self.address else ""

    @property
    def is_wanted(self) -> bool:
        """Whether the address was set explicitly. Naru also looks for Ollama at its default address."""
        return self.address != self.vendor.address_in(_DEFAULTS)

    def make(self, knowledge: Knowledge) -> Adapter:
        """Return a new adapter, which shares what it learns about its models."""
        address = f"{self.address}{self.vendor.api_path}" if self.address else self.vendor.default_address
        return ADAPTERS[self.vendor.name](
            _provider_name(self.vendor.name),
            api_key=self.api_key,
            base_url=address,
            known=Known(knowledge, self.vendor.name),
        )


class Registry:
    """The offers of this process, and its providers; each provider is created on first use."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError if NARU_MODELS names a model that cannot be served."""
        self._configured = _configured(settings)
        self._named = _parse(settings.models, self._configured)
        self._listed: dict[str, tuple[str, ...]] = {}
        self._have_all_answered = False
        self._providers: dict[str, Adapter] = {}
        #: What the servers have taught about their models.
        self.knowledge = Knowledge()

    async def discover(self) -> None:
        """Ask Ollama and compatible servers for their models.

        A server that does not answer in time keeps its last list; one that never answered offers nothing. Never raises.
        """
        if self._named:
            return
        asked = {key: each for key, each in self._configured.items() if each.listing_url}
        found = dict(zip(asked, await asyncio.gather(*(_listing(each) for each in asked.values())), strict=True))
        self._listed |= {key: models for key, models in found.items() if models}
        self._have_all_answered = all(found[key] for key, each in asked.items() if each.is_wanted) and any(
            self._offered()
        )

    async def keep_discovering(self, changed: Callable[[], None]) -> None:
        """Repeat `discover` until cancelled, and call `changed` after each change of the offers."""
        if self._named or not any(each.listing_url for each in self._configured.values()):
            return
        pause, offered = FIRST_PAUSE_SECONDS, self.offers()
        while True:
            await asyncio.sleep(STEADY_PAUSE_SECONDS if self._have_all_answered else pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            await self.discover()
            if self._have_all_answered:
                pause = FIRST_PAUSE_SECONDS
            if (now := self.offers()) != offered:
                log.info("the models on offer have changed", extra={"models": [offer.name for offer in now]})
                offered = now
                changed()

    def offers(self) -> tuple[Offer, ...]:
        """Return the current offers; the first is the default of a new conversation."""
        return tuple(_offer(key, model) for key, model in self._offered())

    def configured(self) -> tuple[str, ...]:
        """Return the names of the configured vendors, as they appear before the slash in a model's name."""
        return tuple(self._configured)

    def provider_for(self, name: str) -> tuple[Provider, str]:
        """Return the provider of the offer `name`, and the provider's own name of the model. Raises ModelNotFound.

        Any model of a configured provider is served, offered or not: a conversation may have begun with it.
        """
        key, _, model = name.partition("/")
        if key not in self._configured or not model:
            raise ModelNotFound(f"{key}: this worker does not serve it")
        return self._provider(key), model

    async def warm(self) -> None:
        """Import the SDKs and make the clients of the offers in advance, so that no question waits for it."""
        for key in dict.fromkeys(key for key, _ in self._offered()):
            await self._provider(key).warm()

    async def close(self) -> None:
        """Close all providers' connections."""
        providers, self._providers = list(self._providers.values()), {}
        for each in providers:
            await each.close()

    def _provider(self, key: str) -> Adapter:
        if key not in self._providers:
            self._providers[key] = self._configured[key].make(self.knowledge)
        return self._providers[key]

    def _offered(self) -> list[tuple[str, str]]:
        if self._named:
            return list(self._named)
        offered: list[tuple[str, str]] = []
        for key, each in self._configured.items():
            models = self._listed.get(key, ()) if each.listing_url else each.vendor.default_models
            offered += [(key, model) for model in models]
        return offered


def _configured(settings: Settings) -> dict[str, _Configured]:
    """Return the vendors that the settings configure, in the order of their offers."""
    found: dict[str, _Configured] = {}
    for vendor in VENDORS:
        api_key, address = vendor.key_in(settings), vendor.address_in(settings)
        if api_key or (address and not vendor.needs_key):
            found[vendor.name] = _Configured(vendor, api_key, address)
    return found


def _parse(text: str, configured: dict[str, _Configured]) -> tuple[tuple[str, str], ...]:
    """Return the entries of NARU_MODELS as (vendor, model), each once. Raises SettingsError for a bad one."""
    named: dict[tuple[str, str], None] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key, slash, model = entry.partition("/")
        if not slash or not model or any(sign.isspace() for sign in entry):
            raise SettingsError(f"NARU_MODELS has {entry!r}, which is not provider/model, as in openai/gpt-6-luna.")
        if key not in _NEEDS:
            raise SettingsError(f"NARU_MODELS has {entry!r}: no provider {key!r}. There are {', '.join(_NEEDS)}.")
        if key not in configured:
            raise SettingsError(f"NARU_MODELS has {entry!r}, but {_NEEDS[key]} is not set.")
        named[key, model] = None
    return tuple(named)


#: The variable that each vendor requires.
_NEEDS = {vendor.name: vendor.key_variable or vendor.address_variable for vendor in VENDORS}


def _offer(key: str, model: str) -> Offer:
    size, is_demo = size_of(model), key == DEMO.name
    return Offer(f"{key}/{model}", _provider_name(key), size.context_tokens, size.max_output_tokens, demo=is_demo)


def _provider_name(key: str) -> str:
    """Return the name under which an adapter reports its errors, which is "simulator" for the demo."""
    return "simulator" if key == DEMO.name else key


async def _listing(each: _Configured) -> tuple[str, ...]:
    """Return the models that a server lists; empty if it fails or does not answer in time."""
    try:
        async with asyncio.timeout(each.vendor.listing_seconds):
            return await asyncio.to_thread(_fetch_listing, each)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # TimeoutError is an OSError
        log.info("%s listed no models: %s", each.vendor.name, type(error).__name__)
        return ()


def _fetch_listing(each: _Configured) -> tuple[str, ...]:
    """Fetch a list in Ollama's form ({"models": [{"name"}]}) or in OpenAI's ({"data": [{"id"}]})."""
    url = each.listing_url
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an HTTP address")
    direct = [ProxyHandler({})] if is_loopback(url) else []
    opener = build_opener(*direct, _NoRedirect())
    request = Request(url, headers=each.vendor.headers_with(each.api_key))  # noqa: S310 - the scheme is checked above
    with opener.open(request, timeout=each.vendor.listing_seconds) as reply:
        found: dict[str, Any] = json.loads(reply.read(_LISTING_BYTES))
    names = [str(entry.get("id") or entry["name"]) for entry in found.get("data") or found.get("models") or ()]
    return tuple(name for name in names if "embed" not in name)[:_MAX_LISTED]


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect, which would carry the key to another host."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None
