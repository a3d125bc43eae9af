"""The providers as `up` and `doctor` see them: what is wrong with each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.cli.findings import Finding, Findings, Level
from deploy.embedded.parts import ask
from shared.errors import SettingsError
from shared.settings import Settings, environment
from shared.vendors import OLLAMA, WITH_KEY
from workers.providers.file import read_providers
from workers.providers.instances import Instance, of_environment, together
from workers.providers.listing import SENTENCES, ListingFailed, Problem, fetch

PROVIDER_SECONDS = 10.0
#: The level of a problem that an operator cannot always mend.
_HINTS = (Problem.SERVER_FAILS, Problem.NO_MODEL)


def instances_of(settings: Settings) -> dict[str, Instance]:
    """Return all providers. Raises SettingsError."""
    found = of_environment(settings)
    if not settings.providers_file:
        return found
    content = read_providers(Path(settings.providers_file), environment(), found)
    return together(found, content.instances)


def has_provider(settings: Settings) -> bool:
    """Return whether the user configured a provider: by a key or an address, or in the file. Raises SettingsError."""
    found, automatic = instances_of(settings), of_environment(settings)
    return any(each.vendor in WITH_KEY or automatic.get(name) != each for name, each in found.items())


def provider_findings(settings: Settings) -> Findings:
    """Ask each provider for its models, which costs nothing."""
    try:
        found = instances_of(settings)
    except SettingsError as error:
        yield Finding(Level.WRONG, f"providers: {error}", "correct it; the workers keep the providers that they have")
        found = of_environment(settings)
    real = [each for each in found.values() if not each.vendor.is_demo]
    asked = [member for each in real for member in each.members]
    names = [f"{each.name}{each.part(place)}" for each in real for place in range(1, len(each.members) + 1)]
    with ThreadPoolExecutor(8) as threads:
        for each, finding in zip(asked, threads.map(finding_of, asked, names), strict=True):
            if finding.level is Level.GOOD or each.is_wanted:
                yield finding


def finding_of(each: Instance, name: str) -> Finding:
    """Return what the provider, or this member of it, says to a request for its models."""
    try:
        listing = fetch(each, seconds=PROVIDER_SECONDS)
    except ListingFailed as error:
        what, _, to_do = SENTENCES[error.problem].partition(". ")
        level = Level.HINT if error.problem in _HINTS else Level.WRONG
        return Finding(level, f"{name}: {each.server} {what}", to_do)
    if each.vendor is OLLAMA:
        return Finding(Level.GOOD, f"{name}: answers at {each.server}")
    if listing.address != each.base:
        what = f"{name}: nothing answers below its address; Naru uses a similar one that does"
        return Finding(Level.HINT, what, f"set the address to {_plain(listing.address)}")
    what = "accepts the key" if each.api_key else "answers without a key"
    return Finding(Level.GOOD, f"{name}: {what}, {len(listing.models)} models that can chat")


def _plain(url: str) -> str:
    """Return an address without a user name and a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def absent_lines(database_url: str) -> list[str]:
    """Return a line for each provider that offers no model, as the newest worker sees it."""
    row = ask(database_url, NEWEST)
    found = (row and row[0]) or ()
    return [f"  No model: {each['title']} {SENTENCES.get(each['problem'], 'offers none')}." for each in found]


NEWEST = "SELECT absent FROM worker WHERE lost_at IS NULL ORDER BY started_at DESC LIMIT 1"
