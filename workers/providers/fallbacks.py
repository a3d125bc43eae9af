"""Chains of models: where the first one is away, the next one answers.

NARU_FALLBACK has them as `one/model > two/model > three/model`, comma-separated; providers.toml has them in
its table [fallback]. A chain of the file replaces the setting's for the same model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from shared.errors import SettingsError

#: The models of each chain, by the first one.
Chains = Mapping[str, tuple[str, ...]]
MOST_CHAINS = 500
LONGEST_CHAIN = 6


def chains_in(setting: str, providers: Collection[str] | None) -> Chains:
    """Return the chains in NARU_FALLBACK. Raises SettingsError.

    `providers` are all there are; None if others may come.
    """
    found: dict[str, tuple[str, ...]] = {}
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        chain = tuple(part.strip() for part in entry.split(">"))
        if why := complaint(chain, providers):
            raise SettingsError(f"NARU_FALLBACK has {entry[:200]!r}: {why}.")
        if chain[0] in found:
            raise SettingsError(f"NARU_FALLBACK has two chains that begin with {chain[0][:80]}. Keep one of them.")
        found[chain[0]] = chain
    return found


def complaint(chain: Sequence[str], providers: Collection[str] | None) -> str:
    """Return what is wrong with a chain; "" if nothing is."""
    if not 2 <= len(chain) <= LONGEST_CHAIN:
        return f"a chain has 2 to {LONGEST_CHAIN} models, as in one/model > two/model"
    for model in chain:
        if why := complaint_of_model(model, providers):
            return why
    if len(set(chain)) < len(chain):
        return "a model is in the chain twice"
    return ""


def complaint_of_model(model: str, providers: Collection[str] | None) -> str:
    """Return what is wrong with a `provider/model`; "" if nothing is."""
    provider, _, name = model.partition("/")
    if not provider or not name or len(model) > 260 or any(sign.isspace() for sign in model):
        return f"{model[:80]!r} is not provider/model"
    if providers is not None and provider not in providers:
        return f"there is no provider {provider[:60]!r}. There are {', '.join(sorted(providers)) or 'none'}"
    return ""
