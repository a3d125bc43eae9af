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

from deploy.embedded.processes import ROOT
from tests.servers import pins, tiny_model
from tests.servers.install import Missing, installed
from tests.servers.pins import Pin
from tests.servers.running import Running

KEY = "sk-naru-servers-1"
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
    #: Whether the server still works on an answer; None if it does not tell.
    is_busy: Callable[[Running], bool] | None = None
    #: A question whose answer breaks off behind a gateway.
    breaking: str = ""


@contextmanager
def served(kind: Kind, folder: Path, runs: Path, *, may_install: bool) -> Iterator[Running]:
    """Run a server, and the one behind it. It is installed in `folder`, its own files are in `runs`.

    Raises Missing and NotReady.
    """
    programs = installed(folder, kind.pin, may_install=may_install) if kind.pin else ollama_programs()
    with ExitStack() as stack:
        behind = ""
        if kind.behind == "simulator":
            behind = stack.enter_context(_simulator(runs)).url
        elif kind.behind:
            other = next(each for each in KINDS if each.name == kind.behind)
            behind = stack.enter_context(served(other, folder, runs, may_install=may_install)).url
        home = runs / kind.name.replace(" ", "-")
        home.mkdir(parents=True, exist_ok=True)
        running = Running(
            "server",
            lambda port: kind.command(Place(programs, home, port, behind)),
            home,
            {key: text.replace("FOLDER", str(home)) for key, text in kind.environment.items()},
        )
        yield stack.enter_context(running)


def _simulator(runs: Path) -> Running:
    home = runs / "simulator"
    home.mkdir(parents=True, exist_ok=True)
    return Running("server", lambda port: [*SIMULATOR, "--port", str(port)], home, {"PYTHONPATH": str(ROOT)})


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
    gone = {"message": "The model 'gone' does not exist", "type": "invalid_request_error", "code": "model_not_found"}
    fixtures = [
        {"match": {"model": "gone"}, "response": {"error": gone, "status": 404}},
        {"match": {"userMessage": "Count."}, "response": {"content": LONG_ANSWER}},
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


_SIMULATED = {
    "long": "[[sim: tokens=600]]",
    "too_long": "[[sim: fault=context]]",
    "breaking": "[[sim: fault=cut at=5]]",
    "behind": "simulator",
}
_LITELLM = {"pin": pins.LITELLM, "command": _litellm, "environment": LITELLM_ALONE}
_AIMOCK = {"pin": pins.AIMOCK, "command": _aimock, "environment": {"AIMOCK_API_KEYS": KEY}}
_FAKELLM = {"pin": pins.FAKELLM, "command": _fakellm}
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
        **_LITELLM,
    ),
    Kind(name="aimock", wire="openai", model="gpt-4o", **_AIMOCK),
    Kind(name="aimock as Anthropic", wire="anthropic", model="claude-3-5-sonnet-20241022", **_AIMOCK),
    Kind(name="aimock as Ollama", wire="ollama", model="gpt-4o", **_AIMOCK),
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
