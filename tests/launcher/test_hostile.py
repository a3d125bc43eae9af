"""Commands with invalid input: they say what to do and exit with a code, never with a traceback.

Also model answers that try to control the terminal. tests/e2e covers such texts on the page.
"""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from deploy import terminal
from deploy.cli import main as cli
from deploy.embedded.ports import PortTaken, check_port
from deploy.embedded.processes import ROOT
from shared.postgres.database import make_engine, transaction
from shared.settings import Settings
from shared.tables import chat_request
from tests.patience import patient
from tests.stack import Servers, Stack

COMMAND = (sys.executable, "-P", "-m", "deploy.cli.main")
LONG = "x" * 100_000
LIMIT = 32_000
#: What an answer may try on a terminal: colour, title, NUL, C1's CSI, reversed direction, backspace, DEL.
DRIVING = r"a\u001b[31m\u001b]0;mine\u0007b\u0000c\u009b2Jd\u202ee\u0008f\u007fg"
SHOWN = "a␛[31m␛]0;mine␇bc\ufffd2Jd\ufffde␈f␡g"
RAW = "a\x1b[31m\x1b]0;mine\x07bc\x9b2Jd\u202ee\x08f\x7fg"


def run(*words: str | bytes, stack: Stack, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a process to its end, with any bytes."""
    return subprocess.run(
        (*COMMAND, *words),
        env={**stack.environ(), **variables},
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        timeout=patient(90),
        check=False,
    )


class Terminal:
    """Commands run in this process, with their environment and output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def sets(self, **variables: str) -> None:
        """Set environment variables."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def refused(self, *words: str, stdin: bytes = b"") -> str:
        """Run a command that must be refused; check that its message is readable, and return it."""
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        try:
            code = cli.main(words)
        except SystemExit as ended:
            code = int(str(ended.code))
        shown = self._capsys.readouterr()
        said = shown.err + shown.out
        assert code in {1, 2}
        assert 0 < len(said) < 3000, said[:300]
        assert "Traceback" not in said, said
        assert not [sign for sign in said if sign < " " and sign not in "\n\t"], repr(said)
        return said


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Return a terminal at which to type commands."""
    return Terminal(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        *(
            ([command, "--port", text], "is not a valid port")
            for command in ("up",)
            for text in ("abc", "-1", "99999", "", "١٢")
        ),
        (["up", "--port", LONG], "is not a valid port"),
        (["up", "--flower-port", "1e3"], "is not a valid port"),
        *(
            (["up", "--workers", text], "is not a valid number of workers")
            for text in ("0", "-1", "100000", "many", "", LONG)
        ),
        *(([*command, "--data", ""], "name a folder") for command in (["up"], ["doctor"], ["ask", "Hello"])),
        (["up", "\x1b[31mred"], "␛[31mred"),
        (["\x1b]0;title\x07"], "invalid choice"),
        ([LONG], "invalid choice"),
        (["\udcff\udcfe"], "invalid choice"),
        (["ask"], "question"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_invalid_options_are_refused(words: list[str], said: str, at: Terminal) -> None:
    assert said in at.refused(*words)


@pytest.mark.parametrize("host", ["\udcff", "나..루", "x" * 5000, "nobody.invalid", "::zz", "a\x00b"])
def test_up_rejects_an_invalid_host(host: str) -> None:
    with pytest.raises(PortTaken, match="cannot listen on"):
        check_port(host, 0)


def test_up_rejects_an_unusable_data_folder(tmp_path: Path, at: Terminal) -> None:
    (tmp_path / "file").write_text("mine")
    for name in ("file", "file/below", "x" * 5000, "\x1b[31m" + "x" * 5000):
        assert "another folder with --data DIR" in at.refused("up", "--data", str(tmp_path / name), "--port", "0")
        for command in (["ask", "Hello"], ["doctor"]):
            assert "./naru up" in at.refused(*command, "--data", str(tmp_path / name))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture(scope="module")
def answering(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield a stack with a model and a worker."""
    database_url = servers.create_database("hostile", template="naru")
    stack = Stack(tmp_path_factory.mktemp("hostile"), database_url, servers.redis_server.url_of(510), servers)
    try:
        stack.start_simulator()
        stack.start_worker()
        yield stack
    finally:
        stack.close()
        servers.drop_database("hostile")


def stored(stack: Stack) -> int:
    """Return the number of stored requests."""
    engine = make_engine(stack.settings, name="test", pool=1)
    with transaction(engine) as connection:
        number = connection.execute(select(func.count()).select_from(chat_request)).scalar_one()
    engine.dispose()
    return int(number)


def test_malformed_questions_and_models_are_refused(answering: Stack, at: Terminal) -> None:
    at.sets(**answering.values)
    before = stored(answering)
    for words, stdin, said in (
        (["ask", LONG], b"", f"has 100000 characters; the limit is {LIMIT}"),
        (["ask", "-"], b"y" * 1_000_000, f"has 1000000 characters; the limit is {LIMIT}"),
        (["ask", "-"], b"y" * (terminal.LONGEST_INPUT + 2), "question on standard input is too long"),
        (["ask", "-"], b" \n\t ", "has no text"),
        (["ask", "Hello", "--model", "\x1b[31mred"], b"", "the model ␛[31mred is not available"),
        (["ask", "Hello", "--model", LONG], b"", "Available: demo/simulator"),
        (["ask", "Hello", "--model", "\udcff\udcfe"], b"", "Available: demo/simulator"),
        (["ask", "Hello", "--model", ""], b"", "Available: demo/simulator"),
    ):
        assert said in at.refused(*words, stdin=stdin)
    assert stored(answering) == before


def test_longest_and_undecodable_questions_are_answered(answering: Stack) -> None:
    longest = "[[sim: text=whole]] ".ljust(LIMIT, "y")
    done = run("ask", longest, stack=answering)
    assert (done.returncode, done.stdout) == (0, b"whole\n")
    for stdin in (b"", b"[[sim: echo]] \xff \x00 \xed\x95\x9c"):
        words = "-" if stdin else b"[[sim: echo]] \xff \xe2\x80\xae \xed\x95\x9c"
        # On an ASCII terminal other characters appear as escapes.
        done = run("ask", words, stack=answering, stdin=stdin, LC_ALL="C", PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"\\ufffd ")


def test_megabyte_answer_is_complete_as_text_and_json(answering: Stack) -> None:
    for words in ("size=1000000", "size=2000"):
        done = run("ask", f'[[sim: text="나루 " repeat=334000 pace=0 {words}]]', "--json", stack=answering)
        assert done.returncode == 0, done.stderr[-300:]
        assert json.loads(done.stdout)["text"] == "나루 " * 334_000
        assert done.stderr.decode() == "나루 " * 334_000 + "\n"


def at_a_terminal(*words: str, stack: Stack) -> str:
    """Run a command on a terminal and return what it sends."""
    terminal_side, command_side = pty.openpty()
    with subprocess.Popen(
        (*COMMAND, *words),
        env=stack.environ(),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=command_side,
        stderr=command_side,
    ) as command:
        os.close(command_side)
        sent = b""
        try:
            while piece := os.read(terminal_side, 65_536):
                sent += piece
        except OSError:  # the other side has ended
            pass
        os.close(terminal_side)
    assert command.returncode == 0, sent
    return sent.decode().replace("\r\n", "\n")


def test_answer_cannot_control_the_terminal(answering: Stack) -> None:
    question = f'[[sim: text="{DRIVING}"]] x'
    assert at_a_terminal("ask", question, stack=answering) == SHOWN + "\n"
    shown, _, report = at_a_terminal("ask", question, "--json", stack=answering).partition("\n")
    assert shown == SHOWN
    assert json.loads(report)["text"] == RAW
    assert report.strip().isprintable()
    assert run("ask", question, stack=answering).stdout.decode() == RAW + "\n"


def test_control_characters_are_made_visible() -> None:
    everything = "".join(map(chr, range(0x3000)))
    shown = terminal.visible(everything)
    assert not [sign for sign in shown if (sign < " " and sign not in "\n\t") or "\x7f" <= sign <= "\x9f"]
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(shown)
    assert terminal.visible("한글 ×\u200d\n\tab") == "한글 ×\u200d\n\tab"
    assert terminal.visible("a\r\nb") == "a\nb"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("DATABASE_URL", "postgresql://u:pa55word@[::1/d"),
        ("DATABASE_URL", "postgresql://u:pa55word@127.0.0.1:1/d?senseless=1"),
        ("REDIS_URL", "http://:pa55word@x"),
        ("NARU_OLLAMA_URL", "senseless"),
        ("OPENAI_API_KEY", "pa55word\n\x1b[31m"),
        ("NARU_DATABASE_POOL", "9" * 5000),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_settings_error_is_one_sentence_without_secrets(
    settings: Settings, at: Terminal, variable: str, text: str
) -> None:
    at.sets(DATABASE_URL=settings.database_url, REDIS_URL=settings.redis_url)
    at.sets(**{variable: text})
    for command in (["ask", "Hello"], ["doctor"]):
        said = at.refused(*command)
        assert variable in said
        assert "pa55word" not in said


def test_up_with_an_invalid_address_starts_nothing(stack: Stack, tmp_path: Path) -> None:
    for variable, text in (("REDIS_URL", "http://:pa55word@x"), ("DATABASE_URL", "postgresql://u:pa55word@h/d?x=1")):
        done = run("up", "--data", str(tmp_path / "data"), "--port", "0", stack=stack, stdin=b"", **{variable: text})
        said = done.stderr.decode()
        assert (done.returncode, done.stdout) == (1, b"")
        assert said.startswith(f"naru: {variable} ")
        assert said.count("\n") == 1
        assert "pa55word" not in said


def test_ask_survives_a_closed_pipe(answering: Stack) -> None:
    command = [*COMMAND, "ask", "[[sim: tokens=3000 pace=0]] x"]
    with subprocess.Popen(
        command, env=answering.environ(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as asked:
        assert asked.stdout is not None
        assert asked.stderr is not None
        asked.stdout.read(5)
        asked.stdout.close()
        said = asked.stderr.read().decode()
        assert asked.wait(60) in {0, cli.STOPPED}
    assert said == ""
