"""Tests of a worker's offers: from its settings, and from the model lists of Ollama and compatible servers."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelNotFound, SettingsError
from shared.settings import Settings
from shared.tuning import Tuning
from shared.vendors import ANTHROPIC, WITH_KEY
from tests.patience import patient
from tests.providers.asking import KEY, Simulator, ask
from workers.providers import instances
from workers.providers import registry as module
from workers.providers.catalogue import size_of
from workers.providers.listing import Problem
from workers.providers.offers import Absent, Offer
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.registry import Registry
from workers.simulator import text_for

log = logging.getLogger(__name__)


def names(registry: Registry) -> list[str]:
    return [offer.name for offer in registry.offers()]


def registry_with(**values: Any) -> Registry:
    return Registry(Settings(**{"ollama_url": "off", **values}))


def test_registry_without_configuration_is_empty() -> None:
    assert names(registry_with()) == []


def test_keys_offer_the_current_default_models() -> None:
    offers = names(registry_with(openai_api_key=KEY, anthropic_api_key=KEY, simulator_url="http://x"))
    defaults = [f"{vendor.name}/{model}" for vendor in WITH_KEY for model in vendor.default_models]
    assert offers == [*defaults, "demo/simulator"]
    assert all(size_of(name).context_tokens for name in defaults)


def test_only_the_simulator_is_a_demo() -> None:
    offers = registry_with(openai_api_key=KEY, simulator_url="http://x").offers()
    assert {offer.provider for offer in offers if offer.demo} == {"simulator"}


def test_named_models_are_offered_and_no_others() -> None:
    registry = registry_with(
        models=" openai/org/model-7b ,anthropic/claude-haiku-5-5,, openai/org/model-7b",
        openai_api_key=KEY,
        anthropic_api_key=KEY,
        simulator_url="http://x",
    )
    assert registry.offers() == (
        Offer("openai/org/model-7b", "openai", None, None, provider_title="OpenAI"),
        Offer("anthropic/claude-haiku-5-5", "anthropic", 1_000_000, 64_000, provider_title="Anthropic"),
    )
    provider, model = registry.provider_for("openai/org/model-7b")
    assert (provider.name, model) == ("openai", "org/model-7b")


@pytest.mark.parametrize(
    ("models", "hint"),
    [
        ("gpt-6-luna", "provider/model"),
        ("openai/", "provider/model"),
        ("openai/gpt 6", "provider/model"),
        ("opneai/gpt-6-luna", "no provider 'opneai'"),
        ("anthropic/claude-haiku-5-5", "ANTHROPIC_API_KEY is not set"),
        ("demo/simulator", "NARU_SIMULATOR_URL is not set"),
        ("ollama/llama", "NARU_OLLAMA_URL is not set"),
    ],
)
def test_bad_entry_is_explained(models: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        registry_with(models=models, openai_api_key=KEY)


@pytest.mark.parametrize("name", ["anthropic/claude-haiku-5-5", "openai/", "openai", "", "nobody/x"])
def test_registry_rejects_unconfigured_models(name: str) -> None:
    with pytest.raises(ModelNotFound):
        registry_with(openai_api_key=KEY).provider_for(name)


def test_model_of_an_old_chat_is_served_but_not_offered() -> None:
    assert registry_with(openai_api_key=KEY).provider_for("openai/gpt-4o")[1] == "gpt-4o"


def test_registry_discovers_the_models_of_ollama() -> None:
    tags = {"models": [{"name": "llama3.2:3b"}, {"name": "nomic-embed-text:latest"}]}
    with serving({"/api/tags": tags}) as url:
        registry = registry_with(ollama_url=url)
        asyncio.run(registry.discover())
    assert names(registry) == ["ollama/llama3.2:3b"]
    assert registry.offers()[0].provider == "ollama"


def test_compatible_server_lists_its_models() -> None:
    with serving({"/v1/models": {"object": "list", "data": [{"id": "org/model"}]}}) as url:
        registry = registry_with(openai_base_url=f"{url}/v1/")
        asyncio.run(registry.discover())
    assert names(registry) == ["openai/org/model"]


def test_gateway_of_anthropic_lists_its_models() -> None:
    listed = {"data": [{"id": "claude-x", "display_name": "Claude X", "max_input_tokens": 50_000}], "has_more": False}
    with serving({"/v1/models": listed}) as url:
        registry = registry_with(anthropic_base_url=url, anthropic_api_key=KEY)
        asyncio.run(registry.discover())
    (offer,) = registry.offers()
    assert (offer.name, offer.title, offer.context_tokens) == ("anthropic/claude-x", "Claude X", 50_000)


def test_gateway_of_anthropic_without_a_list_has_the_defaults() -> None:
    with serving({}) as url:
        registry = registry_with(anthropic_base_url=url, anthropic_api_key=KEY)
        asyncio.run(registry.discover())
    assert names(registry) == [f"anthropic/{model}" for model in ANTHROPIC.default_models]


def test_address_without_v1_is_mended_for_calls_too(simulator: Simulator) -> None:
    async def one() -> str:
        registry = registry_with(openai_base_url=f"{simulator.url}/chat/completions")
        await registry.discover()
        provider, _ = registry.provider_for(registry.offers()[0].name)
        assert isinstance(provider, OpenAIProvider)
        answer = await ask(provider, "안녕?")
        await registry.close()
        return answer.text

    assert asyncio.run(one()) == text_for("안녕?")


def test_provider_without_a_model_tells_why() -> None:
    with serving({}) as url:
        registry = registry_with(openai_base_url=url, simulator_url="http://x")
        asyncio.run(registry.discover())
    assert registry.absent() == (Absent("OpenAI", Problem.NO_LIST),)
    assert names(registry) == ["demo/simulator"]


def test_file_adds_to_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text('[providers.lab]\nkind = "openai"\naddress = "http://x"\nmodels = ["a"]\nin_flight = 2\n')
    registry = registry_with(openai_api_key=KEY, models="openai/gpt-4o", providers_file=str(path))
    assert names(registry) == ["openai/gpt-4o", "lab/a"]
    assert registry.limits() == {"lab": 2}
    path.write_text('[providers.openai]\nkind = "openai"\naddress = "http://x"\n')
    twice = registry_with(openai_api_key=KEY, providers_file=str(path))
    assert "the environment sets OPENAI_API_KEY" in twice.complaint
    assert twice.absent() == (Absent("providers.toml", Problem.BAD_FILE),)


def test_server_is_asked_again_for_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS", "STEADY_PAUSE_SECONDS"):
        monkeypatch.setattr(module, name, 0.02)
    replies: dict[str, object] = {}
    heard: list[list[str]] = []

    async def until_two(url: str) -> None:
        registry = registry_with(openai_base_url=f"{url}/v1")
        await registry.discover()
        again = asyncio.create_task(registry.keep_discovering(lambda: heard.append(names(registry))))
        replies["/v1/models"] = {"data": [{"id": "a"}]}
        while not heard:  # noqa: ASYNC110 - a server in a thread makes it true
            await asyncio.sleep(0.01)
        replies["/v1/models"] = {"data": [{"id": "a"}, {"id": "b"}]}
        while len(heard) < 2:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)
        replies.clear()
        await asyncio.sleep(0.1)
        again.cancel()

    with serving(replies) as url:
        asyncio.run(within(until_two(url), seconds=patient(5)))
    assert heard == [["openai/a"], ["openai/a", "openai/b"]], "an absent server keeps its listed models"


def test_discovery_outlives_an_unexpected_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS", "STEADY_PAUSE_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(module, name, 0.02)
    replies: dict[str, object] = {}
    heard: list[list[str]] = []

    async def until_two(registry: Registry) -> None:
        def changed() -> None:
            heard.append(names(registry))
            replies["/v1/models"] = {"data": [{"id": "a"}, {"id": "b"}]}
            if len(heard) == 1:
                raise RuntimeError("the first change cannot be told")

        again = asyncio.create_task(registry.keep_discovering(changed))
        while len(heard) < 2:  # noqa: ASYNC110 - a server in a thread makes it true
            await asyncio.sleep(0.01)
        again.cancel()

    with serving(replies) as url:
        registry = registry_with(openai_base_url=f"{url}/v1")
        replies["/v1/models"] = {"data": [{"id": "a"}]}
        asyncio.run(within(until_two(registry), seconds=patient(5)))
    assert heard == [["openai/a"], ["openai/a", "openai/b"]]


@pytest.mark.parametrize("reply", [[], {"models": None}, {"models": ["x"]}, "garbage", None])
def test_server_with_an_invalid_list_offers_nothing(reply: object) -> None:
    with serving({"/api/tags": reply}) as url:
        registry = registry_with(ollama_url=url, simulator_url="http://x")
        asyncio.run(registry.discover())
    assert names(registry) == ["demo/simulator"]


def test_silent_ollama_costs_300_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody configured it: Naru looks at its default address."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(instances, "_DEFAULTS", Settings(ollama_url=url))
        registry = registry_with(ollama_url=url)
        began = time.monotonic()
        asyncio.run(within(registry.discover(), seconds=patient(1)))
        assert time.monotonic() - began < patient(2)
    assert names(registry) == []


def test_bad_file_is_read_again_only_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    path, key = tmp_path / "providers.toml", tmp_path / "lab.key"
    path.write_text('[providers.lab]\nkind = "openai"\nmodels = ["a"]\nkey_file = "lab.key"\n')
    opened: list[object] = []
    sys.addaudithook(lambda event, at: opened.append(at) if event == "open" and at[0] == str(path) else None)

    async def mend() -> None:
        registry = registry_with(providers_file=str(path))
        assert "key_file names" in registry.complaint
        again = asyncio.create_task(registry.keep_discovering(lambda: None))
        opened.clear()
        await asyncio.sleep(0.3)
        assert not opened
        key.touch(mode=0o600)
        key.write_text("k")
        while registry.complaint:  # noqa: ASYNC110 - a file sets no event
            await asyncio.sleep(0.01)
        again.cancel()
        assert registry.configured() == ("lab",)

    asyncio.run(within(mend(), seconds=patient(5)))


def test_bad_file_is_read_again_in_any_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "REREAD_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)
    path = tmp_path / "providers.toml"
    path.write_text('[providers.lab]\nkind = "openai"\nmodels = ["a"]\nkey_variable = "LAB_KEY"\n')

    async def mend() -> None:
        registry = registry_with(providers_file=str(path))
        assert registry.complaint
        again = asyncio.create_task(registry.keep_discovering(lambda: None))
        monkeypatch.setenv("LAB_KEY", "k")
        while registry.complaint:  # noqa: ASYNC110 - a variable sets no event
            await asyncio.sleep(0.01)
        again.cancel()

    asyncio.run(within(mend(), seconds=patient(5)))


def test_changed_defaults_keep_lists_and_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    path = tmp_path / "providers.toml"
    path.write_text('[defaults."openai/*"]\neffort = "low"\n')
    heard: list[Tuning] = []

    async def change(url: str) -> None:
        registry = registry_with(openai_base_url=f"{url}/v1", providers_file=str(path))
        await registry.discover()
        assert [offer.defaults for offer in registry.offers()] == [Tuning(effort="low")]
        provider, _ = registry.provider_for("openai/a")
        again = asyncio.create_task(registry.keep_discovering(lambda: heard.append(registry.offers()[0].defaults)))
        path.write_text('[defaults."openai/*"]\neffort = "high"\n')
        while heard != [Tuning(effort="high")]:  # noqa: ASYNC110 - a file sets no event
            await asyncio.sleep(0.01)
        assert registry.provider_for("openai/a")[0] is provider
        path.write_text('[defaults."openai/*"]\neffort = "utmost"\n')
        while not registry.complaint:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)
        assert registry.defaults().of("openai/a") == Tuning(effort="high"), "a file with a mistake changes nothing"
        again.cancel()
        await registry.close()

    with serving({"/v1/models": {"data": [{"id": "a"}]}}) as url:
        asyncio.run(within(change(url), seconds=patient(5)))


def test_absent_providers_are_one_tuple_for_all_threads() -> None:
    registry = registry_with(openai_base_url="http://127.0.0.1:1")
    asyncio.run(registry.discover())
    found = registry.absent()
    assert found == (Absent("OpenAI", Problem.UNREACHABLE),)
    assert registry.absent() is found, "no thread builds it from what the loop changes"


def test_configured_ollama_may_take_longer(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    with serving({"/api/tags": {"models": [{"name": "llama"}]}}, delay=0.5) as url:
        path.write_text(f'[providers.lab]\nkind = "ollama"\naddress = "{url}"\n')
        registry = registry_with(providers_file=str(path))
        asyncio.run(registry.discover(seconds=patient(5)))
    assert names(registry) == ["lab/llama"]


def test_server_may_take_longer_after_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.02)
    assert module.FIRST_LISTING_SECONDS < 4

    async def until_listed(registry: Registry) -> None:
        again = asyncio.create_task(registry.keep_discovering(lambda: None))
        while not registry.offers():  # noqa: ASYNC110 - a server in a thread makes it true
            await asyncio.sleep(0.01)
        again.cancel()

    with serving({"/v1/models": {"data": [{"id": "a"}]}}, delay=4) as url:
        registry = registry_with(openai_base_url=f"{url}/v1")
        asyncio.run(within(until_listed(registry), seconds=patient(30)))


async def within(work: Any, *, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await work


def test_demo_answers_through_the_real_sdk(simulator: Simulator) -> None:
    async def one() -> str:
        registry = registry_with(simulator_url=f"{simulator.url}/")
        provider, model = registry.provider_for("demo/simulator")
        assert isinstance(provider, OpenAIProvider)
        assert (provider.name, model) == ("simulator", "simulator")
        answer = await ask(provider, "안녕?")
        await registry.close()
        return answer.text

    assert asyncio.run(one()) == text_for("안녕?")


def test_using_the_registry_loads_no_sdk() -> None:
    """An SDK takes 45 to 69 MB; only a worker that uses it should load it."""
    code = (
        "import sys; from shared.settings import Settings; from workers.providers.registry import Registry; "
        "Registry(Settings(openai_api_key='k', anthropic_api_key='k')).provider_for('openai/x'); "
        "sys.exit(len({'openai', 'anthropic', 'httpx2', 'aiohttp', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@contextmanager
def serving(replies: dict[str, object], *, port: int = 0, delay: float = 0) -> Iterator[str]:
    """Run a server with fixed JSON replies, each after `delay` seconds; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay)
            found = self.path in replies
            data = json.dumps(replies[self.path]).encode() if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, text: str, *args: object) -> None:
            """Log at DEBUG, not to standard error."""
            log.debug(text, *args)

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
