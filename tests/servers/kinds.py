"""The servers: how each is installed and started, and what Naru needs to know about it.

To add one: a pin in `pins.py` and an entry in KINDS.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.embedded.processes import ROOT
from tests.servers import pins, tiny_model
from tests.servers.install import Missing, installed
from tests.servers.pins import Pin
from tests.servers.running import Running

KEY = "sk-naru-servers-1"
#: The simulator's log, in its folder.
CALLS = "calls.jsonl"
LONG_ANSWER = " ".join(f"word{number}" for number in range(400))
SIMULATOR = [sys.executable, "-m", "workers.simulator", "--pace", "40", "--first-token", "0"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server runs: its programs, a folder for its files, its port, and the server behind it, if any."""

    programs: Path
    folder: Path
    port: int
    behind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One server, spoken to in one wire format."""

    name: str
    pin: Pin | None
    #: The name of the vendor whose format it speaks.
    wire: str
    model: str
    command: Callable[[Place], Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    #: A question with an answer of at least ten seconds.
    long: str = "Count."
    #: A question that is too long for the model; empty if the server knows no window.
    too_long: str = ""
    #: The name of the server behind it.
    behind: str = ""
    #: Whether the server, or the one behind it, still works on an answer; None if it does not tell.
    is_busy: Callable[[Running], bool] | None = None
    #: Questions to a gateway: the answer behind it breaks off; the server behind it refuses, and counts its calls.
    breaking: str = ""
    failing: str = ""


@contextmanager
def served(kind: Kind, folder: Path, runs: Path, *, may_install: bool) -> Iterator[Running]:
    """Run a server, and the one behind it. It is installed in `folder`, its own files are in `runs`.

    Raises Missing and NotReady.
    """
    programs = installed(folder, kind.pin, may_install=may_install) if kind.pin else ollama_programs()
    with ExitStack() as stack:
        behind = None
        if kind.behind == "simulator":
            behind = stack.enter_context(_simulator(runs))
        elif kind.behind:
            other = next(each for each in KINDS if each.name == kind.behind)
            behind = stack.enter_context(served(other, folder, runs, may_install=may_install))
        address = behind.url if behind else ""
        home = runs / kind.name.replace(" ", "-")
        home.mkdir(parents=True, exist_ok=True)
        running = Running(
            "server",
            lambda port: kind.command(Place(programs, home, port, address)),
            home,
            {key: text.replace("FOLDER", str(home)) for key, text in kind.environment.items()},
        )
        running.behind = behind
        yield stack.enter_context(running)


def _simulator(runs: Path) -> Running:
    home = runs / "simulator"
    home.mkdir(parents=True, exist_ok=True)
    (home / CALLS).unlink(missing_ok=True)
    options = ["--log", str(home / CALLS)]
    return Running("server", lambda port: [*SIMULATOR, "--port", str(port), *options], home, {"PYTHONPATH": str(ROOT)})


def calls_behind(running: Running) -> list[dict[str, Any]]:
    """Return the events of the calls to the simulator behind a gateway."""
    assert running.behind is not None
    text = (running.behind.folder / CALLS).read_text()
    return [json.loads(each) for each in text.splitlines() if each.endswith("}")]


def _is_writing_behind(running: Running) -> bool:
    return calls_behind(running)[-1]["event"] in {"start", "first"}


def ollama_programs() -> Path:
    """Return the folder of Ollama's program. Raises Missing."""
    found = shutil.which("ollama")
    if found is None:
        raise Missing("Ollama comes in no package of PyPI or npm: install it from its own site, with `ollama` on PATH")
    return Path(found).parent


def _llama(place: Place) -> list[str]:
    model = place.folder / "tiny.gguf"
    tiny_model.write(model)
    script = Path(__file__).with_name("llama_server.py")
    return [str(place.programs / "python"), str(script), str(model), str(place.port), KEY]


def _llama_is_busy(running: Running) -> bool:
    running = running.behind or running
    slots = json.loads(running.get("/slots", {"Authorization": f"Bearer {KEY}"}))
    return any(slot["is_processing"] for slot in slots)


def _litellm(place: Place) -> list[str]:
    """Offers each model of the server behind it once in each wire format."""
    models = [
        {"model_name": name, "litellm_params": {"model": model, "api_base": place.behind + path, "api_key": KEY}}
        for name, model, path in (("small", "openai/tiny", "/v1"), ("claude", "anthropic/tiny", ""))
    ]
    config = place.folder / "config.yaml"
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))  # JSON is YAML
    address = ["--host", "127.0.0.1", "--port", str(place.port)]
    return [str(place.programs / "litellm"), "--config", str(config), *address]


#: LiteLLM asks the internet for its prices otherwise.
LITELLM_ALONE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"}


def _aimock(place: Place) -> list[str]:
    models = ("gpt-4o", "claude-3-5-sonnet-20241022", "llama3")  # a model is listed if a fixture names it
    gone = {"message": "The model 'gone' does not exist", "type": "invalid_request_error", "code": "model_not_found"}
    fixtures = [
        {"match": {"model": "gone"}, "response": {"error": gone, "status": 404}},
        *({"match": {"model": each, "userMessage": "Count."}, "response": {"content": LONG_ANSWER}} for each in models),
        {"match": {}, "response": {"content": "A short answer of a fake."}},
    ]
    file = place.folder / "fixtures.json"
    file.write_text(json.dumps({"fixtures": fixtures}))
    options = ["--fixtures", str(file), "--latency", "30", "--chunk-size", "6"]
    return [str(place.programs / "llmock"), "--host", "127.0.0.1", "--port", str(place.port), *options]


def _fakellm(place: Place) -> list[str]:
    rules = [
        {"name": "long", "when": {"messages_contain": "Count."}, "respond": {"content": f"{LONG_ANSWER} " * 5}},
        {"name": "any", "respond": {"content": "A short answer of a fake."}},
    ]
    file = place.folder / "fakellm.yaml"
    file.write_text(json.dumps({"rules": rules}))
    address = ["--host", "127.0.0.1", "--port", str(place.port)]
    return [str(place.programs / "fakellm"), "serve", *address, "--config", str(file)]


def _ollama(place: Place) -> list[str]:
    """Serves, and makes its model from the tiny one. Nothing is pulled."""
    model = place.folder / "tiny.gguf"
    tiny_model.write(model)
    (place.folder / "Modelfile").write_text(f"FROM {model}\n")
    program = place.programs / "ollama"
    wait = f'until "{program}" list; do sleep 0.2; done'
    script = f'"{program}" serve & {wait}; "{program}" create tiny -f Modelfile; wait'
    return ["/bin/sh", "-c", f"export OLLAMA_HOST=127.0.0.1:{place.port}; {script}"]


_SIMULATED: dict[str, Any] = {
    "long": "[[sim: tokens=600]]",
    "too_long": "[[sim: fault=context]]",
    "breaking": "[[sim: fault=cut at=5]]",
    "failing": "[[sim: fault=503]]",
    "behind": "simulator",
    "is_busy": _is_writing_behind,
}
_LITELLM: dict[str, Any] = {"pin": pins.LITELLM, "command": _litellm, "environment": LITELLM_ALONE}
_AIMOCK: dict[str, Any] = {"pin": pins.AIMOCK, "command": _aimock, "environment": {"AIMOCK_API_KEYS": KEY}}
_FAKELLM: dict[str, Any] = {"pin": pins.FAKELLM, "command": _fakellm}
KINDS: tuple[Kind, ...] = (
    Kind(
        name="llama.cpp",
        pin=pins.LLAMA,
        wire="openai",
        model="tiny",
        command=_llama,
        too_long="가" * 5000,
        is_busy=_llama_is_busy,
    ),
    Kind(name="LiteLLM", wire="openai", model="small", **_LITELLM, **_SIMULATED),
    Kind(name="LiteLLM as Anthropic", wire="anthropic", model="claude", **_LITELLM, **_SIMULATED),
    Kind(
        name="LiteLLM on llama.cpp",
        wire="openai",
        model="small",
        too_long="가" * 5000,
        behind="llama.cpp",
        is_busy=_llama_is_busy,
        **_LITELLM,
    ),
    Kind(name="aimock", wire="openai", model="gpt-4o", **_AIMOCK),
    Kind(name="aimock as Anthropic", wire="anthropic", model="claude-3-5-sonnet-20241022", **_AIMOCK),
    Kind(name="aimock as Ollama", wire="ollama", model="llama3", pin=pins.AIMOCK, command=_aimock),
    Kind(name="fakellm", wire="openai", model="gpt-4o-mini", **_FAKELLM),
    Kind(name="fakellm as Anthropic", wire="anthropic", model="claude-sonnet-4-5", **_FAKELLM),
    Kind(
        name="Ollama",
        pin=None,
        wire="ollama",
        model="tiny:latest",
        command=_ollama,
        too_long="가" * 5000,
        environment={"OLLAMA_MODELS": "FOLDER/models"},
    ),
)
