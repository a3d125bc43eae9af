"""Tests of the probe behind `./naru doctor --providers`, on simulators that play other servers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.errors import AuthFailed, ConnectFailed, ProviderError
from shared.settings import Settings
from tests.providers.conftest import ROOT
from tests.stack import free_port
from workers.providers.probe import Shown, probe, shapes_of
from workers.providers.registry import Registry

REGULAR = ("streams", "reports usage", "marks the finish")


@contextmanager
def simulator(*options: str) -> Iterator[str]:
    """Run a simulator of its own; yield its address."""
    argv = [sys.executable, "-m", "workers.simulator", "--pace", "0", "--first-token", "0", *options]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip().rpartition(" ")[2]
        process.terminate()


def probed(url: str, vendor: str = "openai") -> Shown:
    settings = (
        Settings(anthropic_api_key="sk-test", anthropic_base_url=url, models="anthropic/claude")
        if vendor == "anthropic"
        else Settings(openai_api_key="sk-test", openai_base_url=f"{url}/v1", models="openai/m")
    )

    async def ask() -> Shown:
        registry = Registry(settings)
        try:
            return await probe(registry, settings.models)
        finally:
            await registry.close()

    return asyncio.run(ask())


def test_probe_finds_nothing_odd_about_a_regular_server() -> None:
    with simulator() as url:
        assert probed(url) == Shown(REGULAR, (), is_error=False)
        assert probed(url, "anthropic") == Shown(REGULAR, (), is_error=False)


def test_probe_names_every_quirk_of_a_server() -> None:
    with simulator("--script", "quirks=no_system,alternate,new_limit strict=temperature,stream_options") as url:
        shown = probed(url)
    assert shown.shape == ("streams", "reports no usage", "marks the finish")
    assert [phrase.partition(":")[0] for phrase in shown.quirks] == [
        "questions and answers must alternate",
        "no system role",
        "the answer's limit is called max_completion_tokens",
        "stream_options is refused",
        "temperature is refused",
    ]


@pytest.mark.parametrize(
    ("script", "shape"),
    [
        ("shape=json", ("one JSON object, no stream", *REGULAR[1:])),
        ("shape=error", ("an error with the status of a success", "reports no usage", "no finish mark")),
        ("shape=think", (*REGULAR, "thinking in <think> tags")),
        (
            "shape=bom,list,nofinish,reasoning_content",
            (
                "a byte order mark first",
                *REGULAR[:2],
                "no finish mark",
                "thinking in `reasoning_content`",
                "text as a list of parts",
            ),
        ),
    ],
)
def test_probe_names_the_shape_of_a_reply(script: str, shape: tuple[str, ...]) -> None:
    with simulator("--script", script) as url:
        assert probed(url) == Shown(shape, (), is_error="shape=error" in script)


def test_probe_names_the_shape_of_messages() -> None:
    with simulator("--script", "quirks=alternate shape=thinking") as url:
        shown = probed(url, "anthropic")
    assert shown.shape == (*REGULAR, "thinking in `thinking`")
    assert len(shown.quirks) == 1


@pytest.mark.parametrize(("script", "kind"), [("fault=401", AuthFailed), ("fault=refuse", ConnectFailed)])
def test_probe_raises_our_errors(script: str, kind: type[ProviderError]) -> None:
    with simulator("--script", script) as url, pytest.raises(kind) as failed:
        probed(url)
    assert "sk-test" not in repr(failed.value)
    assert failed.value.__context__ is None


def test_probe_of_a_missing_server_fails() -> None:
    with pytest.raises(ConnectFailed):
        probed(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"<html></html>",
        b'{"choices":1}',
        b'{"choices":[1],"delta":[],"message":"x"}',
        b"data: 1\n\ndata: {\n\n",
        b'data: {"choices":[{"delta":7}],"delta":"x"}\n\n',
    ],
)
def test_shapes_of_nonsense_are_told(body: bytes) -> None:
    assert list(shapes_of("text/event-stream", body))
    assert list(shapes_of("text/html", body))
