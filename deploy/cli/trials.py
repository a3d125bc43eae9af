"""`./naru doctor --providers`: asks the first models of each provider a tiny question, and says what servers show."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from itertools import islice
from typing import Any

from deploy.cli.findings import Finding, Findings, Level
from shared.errors import ProviderError, SettingsError
from shared.settings import Settings
from shared.vendors import VENDORS
from workers.providers.probe import OUTPUT_TOKENS, SECONDS, Shown, probe
from workers.providers.registry import Registry

MODELS_OF_PROVIDER = 2
MOST_MODELS = 8
LISTING_SECONDS = 10
_LISTING_BYTES = 4_000_000
#: Where servers tell the size of a model's window, in the order in which they are believed.
_WINDOWS = ("max_model_len", "context_length", "max_context_length", "context_window", "n_ctx")


def providers(settings: Settings) -> Findings:
    """Try each configured provider. Nothing that this shows is stored, and no call is repeated but a refused one."""
    try:
        registry = Registry(settings)
    except SettingsError as error:
        yield Finding(Level.WRONG, f"settings: {error}", "correct this variable; the README's table lists all")
        return
    # One loop for all models: an SDK's connections belong to the loop that opened them.
    with asyncio.Runner() as runner:
        try:
            runner.run(registry.discover())
            names = _chosen(registry)
            if not names:
                yield Finding(Level.HINT, "providers: there is no model to try", "see the lines above")
                return
            yield Finding(
                Level.GOOD,
                f"providers: asking {len(names)} model{'s' if len(names) > 1 else ''} one question each,"
                f" with an answer of up to {OUTPUT_TOKENS} tokens; this may cost a little",
            )
            for name in names:
                yield runner.run(_trial(registry, name, settings))
        finally:
            runner.run(registry.close())


def _chosen(registry: Registry) -> list[str]:
    """Return the first models of each provider."""
    by_provider: dict[str, list[str]] = {}
    for offer in registry.offers():
        by_provider.setdefault(offer.name.partition("/")[0], []).append(offer.name)
    first = [name for names in by_provider.values() for name in islice(names, MODELS_OF_PROVIDER)]
    return first[:MOST_MODELS]


async def _trial(registry: Registry, name: str, settings: Settings) -> Finding:
    try:
        shown = await probe(registry, name)
    except ProviderError as error:
        return Finding(Level.WRONG, f"{name}: {error}", f"it was asked once, for up to {SECONDS:.0f} s")
    phrases = [*shown.shape, await asyncio.to_thread(_window, name, settings)]
    return _finding(name, shown, [each for each in phrases if each])


def _finding(name: str, shown: Shown, phrases: list[str]) -> Finding:
    what = f"{name}: {', '.join(phrases)}"
    if shown.quirks:
        what += f"; {'; '.join(shown.quirks)}"
    if shown.is_error:
        return Finding(Level.WRONG, what, "look into the log of the server that answers at this address")
    return Finding(Level.GOOD, what)


def _window(name: str, settings: Settings) -> str:
    """Return a phrase about the model's window in the server's list; "" if the list cannot be read."""
    key, _, model = name.partition("/")
    vendor = next((each for each in VENDORS if each.name == key), None)
    if vendor is None:
        return ""
    address = vendor.address_in(settings) or vendor.default_address
    url = f"{address}{vendor.models_path or f'{vendor.api_path}/models'}"
    if not url.startswith(("http://", "https://")):
        return ""
    headers = vendor.headers_with(vendor.key_in(settings))
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme is checked above
    try:
        with urllib.request.urlopen(request, timeout=LISTING_SECONDS) as reply:  # noqa: S310
            listed: Any = json.loads(reply.read(_LISTING_BYTES))
        entries = listed.get("data") or listed.get("models") or []
        entry = next(each for each in entries if model in {each.get("id"), each.get("name")})
        known = {**(entry.get("meta") or {}), **entry}
    except (OSError, ValueError, AttributeError, TypeError, StopIteration):
        return ""
    window = next((known[each] for each in _WINDOWS if isinstance(known.get(each), int)), None)
    return f"a window of {window} tokens in its list" if window else "no window in its list"
