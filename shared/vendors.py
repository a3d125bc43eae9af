"""The vendors of models: the facts about each one that more than one part of Naru needs.

These parts read the table: the settings, the launcher and `doctor`, `compose setup`, the redaction of logs, and the
workers' registry. `docker-compose.yml`, `deploy/logging/pipeline.conf`, README.md and the sentences that name a key
cannot import it; `tests/house/test_vendors.py` compares them with it. How to call a vendor is in `workers/providers/`.

Imports the standard library only: `compose setup` runs before any package is installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One vendor. A field that does not apply is empty."""

    #: The part before the slash in a model's name, as in openai/gpt-6-luna.
    name: str
    title: str
    #: The environment variables of its key and of its address. The settings declare both.
    key_variable: str = ""
    address_variable: str
    #: Whether it needs a key. If not, an address alone is enough, because compatible servers may take no key.
    needs_key: bool = False
    #: The prefix of its keys, which the redaction of logs looks for.
    key_begins: str = ""
    #: The header that carries the key, up to the key.
    key_header: str = "Authorization: Bearer "
    #: Further headers of a request for the list of models.
    headers: tuple[tuple[str, str], ...] = ()
    #: Its address when none is set.
    default_address: str = ""
    #: Paths below the address: the API that the adapter calls, and the list of models, which is free.
    api_path: str = ""
    models_path: str = ""
    #: Whether the workers ask a server at a set address for its models.
    lists_models: bool = False
    #: How long they wait for a server that nobody configured.
    listing_seconds: float = 3.0
    #: Offered while NARU_MODELS is empty and no server lists models; a new conversation begins with the first.
    default_models: tuple[str, ...] = ()
    #: The Python package of its SDK, which is also the name of the SDK's logger.
    sdk: str = ""
    #: Prefix of further variables that the SDK or server reads.
    variables_begin: str = ""
    sends_bills: bool = True
    is_demo: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the settings that hold its key and address."""
        return tuple(setting_of(each) for each in (self.key_variable, self.address_variable) if each)

    def key_in(self, settings: object) -> str:
        """Return its key; empty where none is set."""
        return str(getattr(settings, setting_of(self.key_variable))) if self.key_variable else ""

    def address_in(self, settings: object) -> str:
        """Return its address without a slash at the end; empty where none is set or it is `off`."""
        address = str(getattr(settings, setting_of(self.address_variable))).rstrip("/")
        return "" if address == OFF else address

    def headers_with(self, key: str) -> dict[str, str]:
        """Return the headers of a request for the list of models."""
        name, _, scheme = self.key_header.partition(": ")
        return dict(self.headers) | ({name: f"{scheme}{key}"} if key else {})


OPENAI = Vendor(
    name="openai",
    title="OpenAI",
    key_variable="OPENAI_API_KEY",
    address_variable="OPENAI_BASE_URL",
    key_begins="sk-",
    default_address="https://api.openai.com/v1",
    models_path="/models",
    lists_models=True,
    default_models=("gpt-6.1-terra", "gpt-6.2-sol", "gpt-6-luna"),
    sdk="openai",
    variables_begin="OPENAI_",
)
ANTHROPIC = Vendor(
    name="anthropic",
    title="Anthropic",
    key_variable="ANTHROPIC_API_KEY",
    address_variable="ANTHROPIC_BASE_URL",
    needs_key=True,
    key_begins="sk-ant-",
    key_header="x-api-key: ",
    headers=(("anthropic-version", "2023-06-01"),),
    default_address="https://api.anthropic.com",
    models_path="/v1/models",
    lists_models=True,
    default_models=("claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5"),
    sdk="anthropic",
    variables_begin="ANTHROPIC_",
)
#: Naru looks for it at its usual address, so nobody need set one.
OLLAMA = Vendor(
    name="ollama",
    title="Ollama",
    address_variable="NARU_OLLAMA_URL",
    models_path="/api/tags",
    lists_models=True,
    listing_seconds=0.3,
    variables_begin="OLLAMA_",
    sends_bills=False,
)
#: The simulator, which speaks OpenAI's format.
DEMO = Vendor(
    name="demo",
    title="the demo simulator",
    address_variable="NARU_SIMULATOR_URL",
    api_path="/v1",
    models_path="/v1/models",
    default_models=("simulator",),
    sends_bills=False,
    is_demo=True,
)

#: In the order in which their models are offered.
VENDORS = (OPENAI, ANTHROPIC, OLLAMA, DEMO)
#: Vendors that take a key: people have an account there, or run a compatible server.
WITH_KEY = tuple(each for each in VENDORS if each.key_variable)
#: Vendors whose address alone is enough.
COMPATIBLE = tuple(each for each in WITH_KEY if not each.needs_key)
SDKS = tuple(each.sdk for each in VENDORS if each.sdk)


def setting_of(variable: str) -> str:
    """Return the name of the setting that an environment variable sets."""
    return variable.removeprefix("NARU_").lower()


def either(words: Iterable[str]) -> str:
    """Return the words as people list alternatives: `A`, `A or B`, `A, B or C`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


#: For messages that tell people which variables to set.
KEY_VARIABLES = either(each.key_variable for each in WITH_KEY)
ADDRESS_VARIABLES = either(each.address_variable for each in COMPATIBLE)
