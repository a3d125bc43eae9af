"""The commands of `./naru providers`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from sqlalchemy import Engine

from deploy import terminal
from deploy.cli.in_database import FAILURES, database_at, sentence_of
from deploy.cli.provider_checks import instances_of
from deploy.embedded.locate import with_providers_file
from shared.errors import ProviderError, SettingsError
from shared.fleet import fleet
from shared.messages import Message, TextPart
from shared.model_facts import forget, read_facts
from shared.operating import shown_models
from shared.settings import environment, load_settings
from shared.tuning import Tuning
from workers.providers.base import Done, Prompt, Provider, Thought
from workers.providers.defaults import covers
from workers.providers.instances import Instance
from workers.providers.listing import LISTING_SECONDS, SENTENCES, Problem
from workers.providers.offers import Offer
from workers.providers.quirks import describe
from workers.providers.registry import Registry

TEST_QUESTION = "Reply with the word OK."
TEST_SECONDS = 60.0
#: The longest test answer. Models that think first write nothing with much less.
TEST_TOKENS = 256
LONGEST_COMPLAINT = 800


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen command and return its exit code."""
    try:
        if chosen.command in AT_SERVERS:
            return asyncio.run(AT_SERVERS[chosen.command](chosen))
        with database_at(chosen.data) as (engine, _):
            return IN_DATABASE[chosen.command](engine, chosen)
    except FAILURES as error:
        return _complain(sentence_of(error))


async def show_providers(chosen: argparse.Namespace) -> int:
    """Print each provider with the number of its models, or the models of one."""
    registry = _registry(chosen)
    await registry.discover(seconds=LISTING_SECONDS)
    if chosen.name:
        _known(registry, chosen.name)
    problems = registry.problems()
    for name, each in registry.instances().items():
        offers = [offer for offer in registry.offers() if offer.name.partition("/")[0] == name]
        if chosen.name not in ("", name):
            continue
        api = "  Responses in background" if each.has_responses else ""
        print(f"{name}  {each.vendor.name}{api}  {terminal.line(each.server)}  {terminal.line(each.title)}")
        print(f"  {len(offers)} model{'' if len(offers) == 1 else 's'}")
        for line in _models(offers) if chosen.name else _defaults(registry, name, offers):
            print(f"  {line}")
        if name in problems:
            print(f"  it {SENTENCES[problems[name]]}.")
    if not registry.instances():
        print("There is no provider. docs/operations/providers.md says how to add one.")
    return 1 if problems else 0


async def test(chosen: argparse.Namespace) -> int:
    """Ask one tiny question and print the answer, how long it took and what it cost. Ask each member of a pool."""
    registry = _registry(chosen)
    _known(registry, chosen.name)
    await registry.discover(seconds=LISTING_SECONDS)
    try:
        model = chosen.model or _first_model(registry, chosen.name)
        if not model:
            problem = registry.problems().get(chosen.name, Problem.NO_MODEL)
            return _complain(f"{chosen.name} {SENTENCES[problem]}. Or name a model with --model.")
        name, found = f"{chosen.name}/{model}", registry.instances()[chosen.name]
        members = registry.members_for(name)
        codes = [await _ask(each, model, f"{name}{found.part(place)}") for place, each in enumerate(members, 1)]
        return max(codes)
    finally:
        await registry.close()


async def _ask(provider: Provider, model: str, name: str) -> int:
    """Ask one member, which is printed as `name`."""
    question = Message("user", (TextPart(TEST_QUESTION),))
    prompt = Prompt(model=model, messages=(question,), max_output_tokens=TEST_TOKENS)
    began, text, done = time.monotonic(), "", None
    first: float | None = None
    try:
        async with asyncio.timeout(TEST_SECONDS):
            async for item in provider.stream(prompt):
                if isinstance(item, Done):
                    done = item
                elif not isinstance(item, Thought):
                    first = first or time.monotonic() - began
                    text += item
    except TimeoutError:
        return _complain(f"{name} has not answered within {TEST_SECONDS:.0f} s.")
    except ProviderError as error:
        return _complain(f"{name} failed: {error.code}. {terminal.line(str(error))}")
    if text.strip():
        print(f"{terminal.line(name)} answers: {terminal.line(text.strip()[:200])}")
    else:
        print(f"{terminal.line(name)} answers, but writes no text within {TEST_TOKENS} tokens")
    print(f"  first text after {first or 0:.1f} s, finished after {time.monotonic() - began:.1f} s")
    if done is not None and done.usage is not None:
        print(f"  used {done.usage.input_tokens} tokens of prompt and {done.usage.output_tokens} of answer")
    else:
        print("  the server does not say how many tokens it used")
    return 0


def hide(engine: Engine, chosen: argparse.Namespace) -> int:
    """Hide the models that match."""
    names = _matching(engine, chosen.models)
    shown_models.hide(engine, names)
    print(f"Hidden: {terminal.line(', '.join(names))}. Chats that began with them go on.")
    return 0


def show(engine: Engine, chosen: argparse.Namespace) -> int:
    """Show the models that match."""
    names = _matching(engine, chosen.models)
    shown_models.show(engine, names)
    print(f"Shown: {terminal.line(', '.join(names))}.")
    return 0


def order(engine: Engine, chosen: argparse.Namespace) -> int:
    """Put the models that match first."""
    names = _matching(engine, chosen.models)
    shown_models.order(engine, names)
    print(f"First in the picker: {terminal.line(', '.join(names))}." if names else "The picker has the workers' order.")
    return 0


def facts(engine: Engine, chosen: argparse.Namespace) -> int:
    """Print what was learnt about each model. Facts of an earlier server of its provider are marked."""
    found = read_facts(engine)
    holding = read_facts(engine, {name: each.servers for name, each in _instances(chosen).items()})
    for model, known in sorted(found.items()):
        print(terminal.line(model))
        present = holding.get(model, {})
        for sentence in describe(present):
            print(f"  {terminal.line(sentence)}")
        for fact, value in sorted(known.items()):
            note = "" if fact in present else "  (learnt at another address, not used)"
            print(f"  {terminal.line(fact)} = {terminal.line(str(value))}{note}")
    if not found:
        print("No server has taught Naru anything yet.")
    return 0


def forget_model(engine: Engine, chosen: argparse.Namespace) -> int:
    """Drop what was learnt about a model."""
    if not forget(engine, chosen.model):
        return _complain(f"nothing is known about {chosen.model}. ./naru providers facts lists what is known.")
    print(f"{terminal.line(chosen.model)}: forgotten. Within half a minute, questions try the server afresh.")
    return 0


def _models(offers: Sequence[Offer]) -> Iterator[str]:
    """Yield a line for each model, and one for its defaults."""
    for offer in offers:
        window = f"  {offer.context_tokens:,} tokens" if offer.context_tokens else ""
        yield f"{terminal.line(offer.name)}  {terminal.line(offer.title)}{window}"
        if offer.defaults:
            yield f"  defaults: {_in_words(offer.defaults)}"


def _defaults(registry: Registry, provider: str, offers: Sequence[Offer]) -> Iterator[str]:
    """Yield a line for each table of defaults of a provider, with the number of models on offer that it covers."""
    for name, table in registry.defaults().tables.items():
        if name.partition("/")[0] == provider:
            count = sum(covers(name, offer.name) for offer in offers)
            yield f"defaults of {terminal.line(name)} ({count} on offer): {_in_words(Tuning.read(table))}"


def _in_words(defaults: Tuning) -> str:
    said = [f"{name} {' '.join(str(value).split())}" for name, value in defaults.excerpt().values().items()]
    return terminal.line(", ".join(said)) or "no instructions"


def _first_model(registry: Registry, name: str) -> str:
    """Return the first model that a provider offers; "" without one."""
    models = (offer.name.partition("/") for offer in registry.offers())
    return next((model for provider, _, model in models if provider == name), "")


def _registry(chosen: argparse.Namespace) -> Registry:
    """Return a registry as a worker has it. Raises SettingsError for a mistake in providers.toml."""
    settings = load_settings(with_providers_file(environment(), chosen.data))
    instances_of(settings)
    return Registry(settings)


def _instances(chosen: argparse.Namespace) -> Mapping[str, Instance]:
    """Return the providers by name; none if a setting or the file has a mistake."""
    try:
        return instances_of(load_settings(with_providers_file(environment(), chosen.data)))
    except SettingsError:
        return {}


def _known(registry: Registry, name: str) -> None:
    if name not in registry.configured():
        known = ", ".join(registry.configured()) or "none"
        raise SettingsError(f"there is no provider {name[:60]!r}. There are: {known}.")


def _matching(engine: Engine, patterns: Sequence[str]) -> list[str]:
    """Return the models on offer that match, and the names that are no pattern. Raises SettingsError."""
    offered = [model.name for model in fleet(engine).models]
    offered += [each.model for each in shown_models.read_shown(engine) if each.model not in set(offered)]
    found: dict[str, None] = {}
    for pattern in patterns:
        if "/" not in pattern:
            raise SettingsError(f"{pattern[:60]!r} is not provider/model, as ./naru providers list prints it.")
        matched = [name for name in offered if fnmatchcase(name, pattern)]
        if not matched and "*" in pattern:
            raise SettingsError(f"no model on offer matches {pattern[:60]!r}. ./naru providers list lists them.")
        found |= dict.fromkeys(matched or [pattern])
    return list(found)


def _complain(sentence: str) -> int:
    sys.stderr.write(f"naru providers: {terminal.line(sentence)[:LONGEST_COMPLAINT]}\n")
    return 1


AT_SERVERS: Mapping[str, Callable[[argparse.Namespace], Coroutine[None, None, int]]] = {
    "list": show_providers,
    "test": test,
}
IN_DATABASE: Mapping[str, Callable[[Engine, argparse.Namespace], int]] = {
    "hide": hide,
    "show": show,
    "order": order,
    "facts": facts,
    "forget": forget_model,
}
