"""The tools of `./naru test servers`, without any of its servers: the tiny model, and the steps on the simulator."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.embedded.processes import ROOT
from tests.patience import patient
from tests.servers import pins, tiny_model
from tests.servers.__main__ import Unsafe, make_private, play
from tests.servers.install import Missing, installed
from tests.servers.kinds import Kind
from tests.servers.running import NotReady, Running
from tests.servers.steps import STEPS

PINS = [value for value in vars(pins).values() if isinstance(value, pins.Pin)]
#: The simulator takes any key, has any model and knows no window.
NOT_SHOWN = {"list", "wrong key", "model removed", "breaks behind", "calls behind", "window exceeded"}


def test_tiny_model_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        tiny_model.write(tmp_path / name, seed=seed)
    one, again, other = ((tmp_path / name).read_bytes() for name in ("one", "again", "other"))
    assert one == again
    assert one != other


def test_tiny_model_has_the_head_of_gguf(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "tiny.gguf")
    data = (tmp_path / "tiny.gguf").read_bytes()
    magic, version, tensors, facts = struct.unpack("<4sIQQ", data[:24])
    assert (magic, version, tensors) == (b"GGUF", 3, 3 + 9 * tiny_model.LAYERS)
    assert facts > 10
    assert len(data) % tiny_model.ALIGNMENT == 0
    assert b"general.architecture" in data[:200]


def test_each_byte_has_a_token() -> None:
    tokens, types, scores = tiny_model.vocabulary()
    assert len(tokens) == len(types) == len(scores) == len(set(tokens))
    assert sum(token.startswith("<0x") for token in tokens) == 256


@pytest.mark.parametrize("pin", PINS, ids=lambda each: each.requirement)
def test_each_server_has_one_exact_version(pin: pins.Pin) -> None:
    assert re.fullmatch(r"[\w@/.\[\]-]+?(?:==|@)\d[\w.]*", pin.requirement)
    assert re.fullmatch(r"\d[\w.]*", pin.version)


def test_missing_server_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=f"{pins.FAKELLM.requirement} is not installed: run this again without"):
        installed(tmp_path, pins.FAKELLM, may_install=False)


def test_command_skips_a_missing_server(tmp_path: Path) -> None:
    done = command("--only", "llama.cpp", "--no-install", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "skipped: xllamacpp" in done.stdout
    assert "0 passed, 0 failed, 1 skipped" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_command_names_the_servers_it_knows() -> None:
    done = command("--only", "nobody")
    assert done.returncode == 2
    assert "llama.cpp, litellm, aimock, fakellm, ollama" in done.stderr


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_steps_find_no_fault_with_the_simulator(wire: str, tmp_path: Path) -> None:
    kind = simulated(wire)
    with running(tmp_path) as server:
        results = {name: play(name, kind, server) for name in STEPS if name not in NOT_SHOWN}
        assert {result for result, _ in results.values()} == {"ok"}, results
        assert play("wrong key", kind, server) == ("differs", "takes any key")
        pid = server.pid
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_the_servers(number: signal.Signals, tmp_path: Path) -> None:
    lines = (
        "import signal, sys, time",
        "from pathlib import Path",
        "from tests.servers.__main__ import end_on_signals",
        "from tests.servers.test_servers import running",
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)",  # these tests may run under nohup
        "end_on_signals()",
        "with running(Path(sys.argv[1])) as server:",
        "    print(server.pid, flush=True)",
        "    time.sleep(120)",
    )
    line = [sys.executable, "-c", "\n".join(lines), str(tmp_path)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(patient(20)) == 128 + number
    assert not Path(f"/proc/{pid}").exists()


def test_folder_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "cache/servers"
    make_private(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(Unsafe, match="others can write"):
        make_private(folder)
    done = command("--only", "llama.cpp", "--no-install", "--folder", str(folder))
    assert done.returncode == 2
    assert f"run `chmod go-w {folder}`" in done.stderr


def test_log_of_a_server_is_shown_without_control_characters(tmp_path: Path) -> None:
    said = "import sys; sys.exit('no port\\x1b]0;title\\x07 나루')"
    with pytest.raises(NotReady, match="no port\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER} 나루"):
        Running("sim", lambda _: [sys.executable, "-c", said], tmp_path, {"PYTHONUTF8": "1"}).start()


def test_step_tells_a_fault(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        kind = simulated("openai", too_long="[[sim: fault=500]]")
        result, words = play("window exceeded", kind, server)
    assert result == "FAULT"
    assert "server_failed" in words


def simulated(wire: str, *, too_long: str = "") -> Kind:
    long = "[[sim: tokens=600 pace=20]]"
    return Kind(name="sim", pin=None, wire=wire, model="any", command=lambda _: [], long=long, too_long=too_long)


def running(folder: Path) -> Running:
    simulator = [sys.executable, "-m", "workers.simulator", "--pace", "2000", "--first-token", "0"]
    return Running("sim", lambda port: [*simulator, "--port", str(port)], folder, {"PYTHONPATH": str(ROOT)})


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tests.servers", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=patient(30))
