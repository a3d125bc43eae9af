"""`./naru up` end to end: the real command with everything that it starts, in temporary data folders."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from deploy.cli.checks import scrub
from deploy.embedded.data import Secrets, running_on, secrets_in
from deploy.embedded.processes import ROOT, started_at
from tests.patience import patient
from tests.stack import NO_PROXY, Servers, get, wait_until


class Up:
    """An `up` as a user starts it, in its own session, as in a terminal."""

    def __init__(self, data: Path, *words: str, **environ: str) -> None:
        self.data = data
        self.out = data.parent / f"{data.name}-{time.monotonic_ns()}.out"
        command = [sys.executable, "-P", "-m", "deploy.cli.main", "up", "--data", str(data), *words]
        clean = {**scrub(os.environ), "PYTHONPATH": str(ROOT), "NARU_OLLAMA_URL": "off"}
        with self.out.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=clean | environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """Return the terminal's text."""
        return self.out.read_text()

    @property
    def url(self) -> str:
        """Return the address in the last line."""
        return self.text.splitlines()[-1].removeprefix("Naru is ready at ")

    def ready(self) -> Up:
        """Wait for the last line."""
        wait_until(lambda: "Naru is ready at" in self.text or self.process.poll() is not None, seconds=90)
        assert self.process.poll() is None, self.text
        return self

    def pids(self) -> dict[str, int]:
        """Return the pids of the running parts by name."""
        found = {}
        for path in (self.data / "pids").glob("*.json"):
            with suppress(FileNotFoundError):  # it has ended meanwhile
                found[path.stem] = json.loads(path.read_text())["pid"]
        return found

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Press Ctrl-C, or send another signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(patient(40))

    def database_url(self) -> str:
        """Return the database address that its children have."""
        running = running_on(self.data)
        assert running is not None
        return running.environ["DATABASE_URL"]

    def end(self) -> None:
        """Stop it if it still runs."""
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)


#: Secrets in the environment of `up`, and the parts that may see each.
CANARIES = {
    "NARU_SECRET_KEY": "canary-secret-key-" + "s" * 32,
    "NARU_BACKUP_KEY": "canary-backup-key",
    "NARU_SYSTEM_PROMPT": "canary-system-prompt",
    "HTTPS_PROXY": "http://canary-proxy@127.0.0.1:9",
    "AWS_SECRET_ACCESS_KEY": "canary-of-another-program",
}
MAY_SEE = {"web": {"NARU_SECRET_KEY"}, "worker": {"NARU_SYSTEM_PROMPT", "HTTPS_PROXY"}}


def environ_of(pid: int) -> dict[str, str]:
    """Return a process's initial environment; servers that overwrite it with their title show less."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().rstrip("\0").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def kept_secrets(running: Up) -> Secrets:
    kept = secrets_in(running.data)
    assert kept is not None
    return kept


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Yield a running Naru for the tests that only read from it."""
    data = tmp_path_factory.mktemp("up") / "data"
    data.mkdir()
    data.chmod(0o755)  # as a user would make it, whatever the umask
    up = Up(data, "--port", "0", **CANARIES)
    try:
        yield up.ready()
    finally:
        up.end()


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[list[Up]]:
    """Yield a list for what a test starts, and stop it afterwards."""
    made: list[Up] = []
    yield made
    for up in made:
        up.end()


def gone(pids: dict[str, int]) -> bool:
    """Return whether all of these processes have ended."""
    return not any(started_at(pid) for pid in pids.values())


def test_up_prints_the_address_once_everything_runs(running: Up) -> None:
    assert set(running.pids()) == {"postgres", "redis", "simulator", "web", "worker", "flower"}
    assert get(f"{running.url}/readyz")[0] == 200
    assert get(running.url)[0] == 200
    assert "the demo simulator answers" in running.text
    assert running.text.splitlines()[-1] == f"Naru is ready at {running.url}"


def test_terminal_output_is_text_and_logs_are_json(running: Up) -> None:
    assert "{" not in running.text
    for name in ("up", "web", "worker"):
        for line in (running.data / "logs" / f"{name}.log").read_text().splitlines():
            assert json.loads(line)["message"], name


def test_secrets_stay_private_and_out_of_the_process_list(running: Up) -> None:
    file = running.data / "secrets.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secrets = json.loads(file.read_text()).values()
    for name, pid in running.pids().items():
        shown = Path(f"/proc/{pid}/cmdline").read_text()
        assert not [secret for secret in secrets if secret in shown], name


def test_no_part_sees_the_secret_of_another(running: Up) -> None:
    secrets = kept_secrets(running)
    for name, pid in running.pids().items():
        seen = environ_of(pid)
        assert CANARIES.keys() & seen.keys() == MAY_SEE.get(name, set()), name
        assert not [value for value in seen.values() if "canary" in value and value not in CANARIES.values()], name
        if name not in {"web", "worker"}:
            assert not [each for each in seen.values() if secrets.postgres_password in each], name
        if name not in {"web", "worker", "flower"}:
            assert not [each for each in seen.values() if secrets.redis_password in each], name
        if name != "flower":
            assert not [each for each in seen.values() if secrets.flower_password in each], name


def test_data_folder_belongs_to_its_owner(running: Up) -> None:
    assert f"Closed to other users: {running.data}, which had mode 0755." in running.text
    for path in (running.data, *running.data.rglob("*")):
        assert path.is_symlink() or not path.lstat().st_mode & 0o077, path


def test_password_is_shown_on_demand_and_never_printed_by_up(running: Up) -> None:
    password = kept_secrets(running).flower_password
    assert password not in running.text
    command = [sys.executable, "-P", "-m", "deploy.cli.main", "urls", "--data"]
    environ = {**scrub(os.environ), "PYTHONPATH": str(ROOT)}
    shown = subprocess.run(
        [*command, str(running.data)], env=environ, capture_output=True, text=True, timeout=patient(60)
    )
    assert shown.returncode == 0
    assert f"  Flower's user is naru, its password {password}" in shown.stdout.splitlines()
    assert f"  Page     {running.url}" in shown.stdout.splitlines()
    nobody = subprocess.run([*command, "/nowhere"], env=environ, capture_output=True, text=True, timeout=patient(60))
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("naru: Naru is not running on /nowhere.")


def test_nothing_listens_beyond_this_machine(running: Up) -> None:
    links = [link for pid in running.pids().values() for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    inodes = {str(link.readlink()).removeprefix("socket:[").rstrip("]") for link in links}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
    assert len(listening) >= 5
    assert all(address.startswith("0100007F:") for address in listening)


def test_flower_asks_for_its_password(running: Up) -> None:
    found = re.search(r"Flower +http://(\S+) ", running.text)
    assert found
    address, password = found[1], kept_secrets(running).flower_password
    assert get(f"http://{address}/workers")[0] == 401
    knows = urllib.request.Request(f"http://{address}/workers")
    knows.add_header("Authorization", "Basic " + base64.b64encode(f"naru:{password}".encode()).decode())

    def shown() -> bool:
        with NO_PROXY.open(knows) as answer:
            return f"worker-{running.pids()['worker']}@" in answer.read().decode()

    wait_until(shown, what="Flower has received a heartbeat of the worker, which comes every 2 s")


def test_second_up_prints_the_address_and_succeeds(running: Up) -> None:
    second = Up(running.data, "--port", "0")
    assert second.process.wait(patient(20)) == 0
    assert second.text.splitlines()[0] == "Naru is already running on this data folder."
    assert second.url == running.url
    assert get(f"{running.url}/readyz")[0] == 200


def test_up_names_a_taken_port(running: Up, tmp_path: Path) -> None:
    port = running.url.rpartition(":")[2]
    refused = Up(tmp_path / "data", "--port", port)
    assert refused.process.wait(patient(20)) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in refused.text
    assert "--port 0" in refused.text
    assert not (tmp_path / "data" / "postgres").exists()


def test_supervisor_restarts_a_worker_that_dies(running: Up) -> None:
    before = running.pids()["worker"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: "  worker is back" in running.text, seconds=60)
    assert running.pids()["worker"] != before
    assert "worker ended (signal 9); starting it again in 0.5 s" in running.text


def test_ctrl_c_leaves_no_process_and_keeps_the_data(tmp_path: Path, starts: list[Up]) -> None:
    up = Up(tmp_path / "data", "--port", "0").ready()
    starts.append(up)
    with psycopg2.connect(up.database_url()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    connection.close()
    pids = up.pids()
    assert up.stop() == 0
    assert gone(pids)
    assert "Its data is kept in" in up.text
    assert not (up.data / "running.json").exists()

    (up.data / "secrets.json").unlink()
    again = Up(tmp_path / "data", "--port", "0").ready()
    starts.append(again)
    connection = psycopg2.connect(again.database_url())
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT answer FROM kept")
        assert cursor.fetchone() == (42,)
    connection.close()
    assert again.stop(signal.SIGTERM) == 0


def test_next_up_cleans_up_after_a_killed_one(tmp_path: Path, starts: list[Up]) -> None:
    first = Up(tmp_path / "data", "--port", "0").ready()
    starts.append(first)
    pids = first.pids()
    first.process.kill()
    first.process.wait()
    second = Up(tmp_path / "data", "--port", "0", NARU_GRACE_SECONDS="60").ready()
    starts.append(second)
    assert gone(pids)
    assert get(f"{second.url}/readyz")[0] == 200
    assert_second_ctrl_c_stops_at_once(second)


def assert_second_ctrl_c_stops_at_once(up: Up) -> None:
    pids = up.pids()
    os.kill(pids["web"], signal.SIGSTOP)  # a part that `up` would wait for
    up.process.send_signal(signal.SIGINT)
    wait_until(lambda: "Stopping" in up.text)
    began = time.monotonic()
    assert up.stop() == 130
    assert time.monotonic() - began < patient(4)
    assert gone(pids)


def test_ctrl_c_while_starting_leaves_nothing(tmp_path: Path, starts: list[Up]) -> None:
    up = Up(tmp_path / "data", "--port", "0")
    starts.append(up)
    wait_until(lambda: "postgres" in up.text and "web" in up.pids(), seconds=60)
    pids = up.pids()
    assert up.stop() == 0
    assert gone(pids)
    assert "Naru is ready" not in up.text


def test_up_uses_external_servers(tmp_path: Path, starts: list[Up], servers: Servers) -> None:
    servers.execute(psycopg2.sql.SQL("CREATE DATABASE mine"))
    urls = {
        "DATABASE_URL": servers.postgres_server.url_of("mine"),
        "REDIS_URL": servers.redis_server.url_of(500),
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "OPENAI_API_KEY": "sk-canary",
    }
    up = Up(tmp_path / "data", "--port", "0", "--workers", "2", **urls).ready()
    starts.append(up)
    assert set(up.pids()) == {"web", "worker", "worker-2", "flower"}
    assert not (up.data / "postgres").exists()
    assert "demo simulator" not in up.text
    assert {name for name, pid in up.pids().items() if "sk-canary" in environ_of(pid).values()} == {
        "worker",
        "worker-2",
    }
    assert up.stop() == 0
    assert servers.postgres.running
    assert servers.redis.running


def test_up_finishes_a_half_made_database(tmp_path: Path, starts: list[Up]) -> None:
    half_made = tmp_path / "data" / "postgres.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18")
    foreign = tmp_path / "data" / "postgres"
    foreign.mkdir()
    (foreign / "letters").touch()
    up = Up(tmp_path / "data", "--port", "0")
    starts.append(up)
    assert up.process.wait(patient(40)) == 1
    assert "is not empty but holds no complete database" in up.text
    assert (foreign / "letters").exists()


def test_up_leads_to_the_first_account(tmp_path: Path, starts: list[Up]) -> None:
    starts.append(Up(tmp_path / "data", "--port", "0", NARU_AUTH="local"))
    up = starts[0].ready()
    found = re.search(r"Make the first one, an administrator's: (\S+)", up.text)
    assert found is not None
    assert found[1].startswith(f"{up.url}/sign-up?invitation=")
    assert get(found[1])[0] == 200
    assert get(f"{up.url}/sign-up")[0] == 400


def test_up_refuses_open_guests(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", "--port", "0", "--host", "0.0.0.0")
    assert up.process.wait(patient(60)) == 1
    assert "Set NARU_AUTH=local" in up.text
    assert "NARU_OPEN_TO_ANYONE=true" in up.text


def test_invalid_setting_is_reported_in_one_line(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", NARU_LEASE_SECONDS="soon")
    assert up.process.wait(patient(20)) == 1
    assert up.text == "naru: NARU_LEASE_SECONDS is 'soon', which is not a number.\n"
