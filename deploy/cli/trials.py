"""`./naru doctor --providers`: asks the first models of each provider a tiny question, and says what servers show."""

from __future__ import annotations

import asyncio
from itertools import islice

from deploy.cli.findings import Finding, Findings, Level
from shared.errors import ProviderError, SettingsError
from shared.settings import Settings
from workers.providers.instances import Instance
from workers.providers.listing import ListingFailed, list_models
from workers.providers.probe import OUTPUT_TOKENS, SECONDS, Shown, probe
from workers.providers.registry import Registry

MODELS_OF_PROVIDER = 2
MOST_MODELS = 8


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
            trials = [(name, place) for name, places in names.items() for place in range(1, places + 1)]
            if not names:
                yield Finding(Level.HINT, "providers: there is no model to try", "see the lines above")
                return
            yield Finding(
                Level.GOOD,
                f"providers: asking {len(names)} model{'s' if len(names) > 1 else ''} one question each,"
                f"{_of_members(len(trials) - len(names))}"
                f" with an answer of up to {OUTPUT_TOKENS} tokens; this may cost a little",
            )
            for name, place in trials:
                yield runner.run(_trial(registry, name, place))
        finally:
            runner.run(registry.close())


def _of_members(more: int) -> str:
    return f" and {more} more with the other keys or addresses," if more else ""


def _chosen(registry: Registry) -> dict[str, int]:
    """Return the first models of each provider, with the number of members to try: all with a provider's first."""
    by_provider: dict[str, list[str]] = {}
    for offer in registry.offers():
        by_provider.setdefault(offer.name.partition("/")[0], []).append(offer.name)
    first = [name for names in by_provider.values() for name in islice(names, MODELS_OF_PROVIDER)]
    members = {names[0]: len(registry.instances()[key].members) for key, names in by_provider.items()}
    return {name: members.get(name, 1) for name in first[:MOST_MODELS]}


async def _trial(registry: Registry, name: str, place: int) -> Finding:
    provider = registry.instances()[name.partition("/")[0]]
    what = f"{name}{provider.part(place)}"
    try:
        shown = await probe(registry, name, place=place)
    except ProviderError as error:
        return Finding(Level.WRONG, f"{what}: {error}", f"it was asked once, for up to {SECONDS:.0f} s")
    phrases = [*shown.shape, await _window(provider.members[place - 1], name)]
    return _finding(what, shown, [each for each in phrases if each])


def _finding(name: str, shown: Shown, phrases: list[str]) -> Finding:
    what = f"{name}: {', '.join(phrases)}"
    if shown.quirks:
        what += f"; {'; '.join(shown.quirks)}"
    if shown.is_error:
        return Finding(Level.WRONG, what, "look into the log of the server that answers at this address")
    return Finding(Level.GOOD, what)


async def _window(member: Instance, name: str) -> str:
    """Return a phrase about the model's window in the server's list; "" if the list does not have the model."""
    model = name.partition("/")[2]
    try:
        listing = await list_models(member)
    except ListingFailed:
        return ""
    listed = next((each for each in listing.models if each.name == model), None)
    if listed is None:
        return ""
    return (
        f"a window of {listed.context_tokens} tokens in its list" if listed.context_tokens else "no window in its list"
    )
