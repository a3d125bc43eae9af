"""The models on offer, and the providers that offer none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import SettingsError
from shared.tuning import NO_TUNING, Tuning
from shared.vendors import DEMO, VENDORS
from workers.providers.catalogue import size_of
from workers.providers.instances import Instance
from workers.providers.listing import Listed, Problem


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that this worker can serve. `name` is `provider/model`, as in NARU_MODELS and in the rows."""

    name: str
    provider: str
    context_tokens: int | None
    max_output_tokens: int | None
    demo: bool = False
    #: The names that people see, of the model and of its provider; the model's is empty if its server gives none.
    title: str = ""
    provider_title: str = ""
    #: What holds in a chat where the person sets nothing else.
    defaults: Tuning = NO_TUNING


@dataclass(frozen=True, slots=True)
class Absent:
    """A provider that offers no model, and why."""

    title: str
    problem: Problem


def parse_names(text: str, configured: Mapping[str, Instance]) -> tuple[tuple[str, str], ...]:
    """Return the entries of NARU_MODELS as (vendor, model), each once. Raises SettingsError for a bad one."""
    named: dict[tuple[str, str], None] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key, slash, model = entry.partition("/")
        if not slash or not model or any(sign.isspace() for sign in entry):
            raise SettingsError(
                f"NARU_MODELS has {entry!r}, which is not provider/model, as ./naru providers list prints."
            )
        if key not in _NEEDS:
            raise SettingsError(
                f"NARU_MODELS has {entry!r}: no provider {key!r}. There are {', '.join(_NEEDS)}; those of "
                "providers.toml list their models there."
            )
        if key not in configured:
            raise SettingsError(f"NARU_MODELS has {entry!r}, but {_NEEDS[key]} is not set.")
        named[key, model] = None
    return tuple(named)


#: The variable that each vendor requires.
_NEEDS = {vendor.name: vendor.key_variable or vendor.address_variable for vendor in VENDORS}


def offer_of(each: Instance, model: Listed, defaults: Tuning) -> Offer:
    """Return the offer of a model that `each` lists."""
    size = size_of(model.name)
    return Offer(
        f"{each.name}/{model.name}",
        provider_name(each.name),
        model.context_tokens or size.context_tokens,
        size.max_output_tokens,
        demo=each.vendor.is_demo,
        title=model.title,
        provider_title=each.title,
        defaults=defaults,
    )


def provider_name(key: str) -> str:
    """Return the name under which an adapter reports its errors, which is "simulator" for the demo."""
    return "simulator" if key == DEMO.name else key
