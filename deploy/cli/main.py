"""The command line of Naru. bootstrap.py starts it in Naru's own environment.

This module holds the help texts and the arguments; other modules carry out the commands.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from deploy import terminal
from deploy.embedded.processes import ROOT
from shared.vendors import ADDRESS_VARIABLES, KEY_VARIABLES

ABOUT = """\
Naru, an AI chat that a team runs itself.

  ./naru up                 everything on this machine: PostgreSQL, Redis, worker, Flower, page
  ./naru ask "…"            one question from the terminal, streamed; --json for scripts
  ./naru urls               the addresses, and Flower's password
  ./naru doctor             checks everything an operator would, and says what to do
  ./naru keys rotate        a new key for the browsers' cookies; nobody loses a conversation
  ./naru people invite      prints a link with which somebody makes an account
  ./naru audit verify       finds a changed or missing event in the record of events
  ./naru providers          the providers and their models; test one with a real question
  ./naru admin show         lanes, workers and requests now; stop one, drain a worker, show a banner
  ./naru erase OWNER        removes everything of one person, and says what still remembers it
  ./naru backup             one encrypted, checked backup; --list shows them
  ./naru restore NAME       replaces the data with a backup, and keeps the old data
  ./naru restore-drill      proves that the newest backup can be restored; changes nothing
  ./naru test               the checks and the tests, on their own servers
  ./naru bench              how fast Naru is on this machine, compared with alternatives
  ./naru compose setup      before docker compose up: writes .env and secrets/; compose roll: a new version
"""
UP = f"""\
Starts everything on this machine and keeps it running until Ctrl-C; the data stays.

PostgreSQL and Redis come with Naru and live in the data folder; set DATABASE_URL or REDIS_URL to use your own.
Models: set {KEY_VARIABLES}, or {ADDRESS_VARIABLES} (any compatible server); an Ollama on this
machine is found automatically. Without a model, a demo simulator answers, and says so.
A second `up` on the same data folder prints the address of the first. A second Ctrl-C stops at once.
"""
ASK = """\
Asks one question on the same path as the page and streams the answer. Uses DATABASE_URL and REDIS_URL, or the Naru
that runs on the data folder. The exit code is 0 only for an answer. Ctrl-C stops the answer and keeps its text.
"""
DOCTOR = """\
Checks the settings, both servers, the tables, the workers and the models' keys, and says what to do about each.
With --providers it also asks the first models of each provider a tiny question, and says what their servers show.
The exit code is 0 if nothing is wrong (hints marked ! do not count).
"""
ERASE = """\
Removes one person's conversations, messages and requests from the database at once, whatever the settings keep. Running
answers are stopped first. Afterwards it says until when backups still have the rows.

OWNER is `terminal` (./naru ask), person:ID (./naru people list) or browser:ID; docs/operations/keeping.md says how to
find it. It uses DATABASE_URL, or the database in the data folder, whether Naru runs or not.
"""
KEYS = """\
Replaces the key in the data folder that signs the browsers' cookies. Restart Naru afterwards.

  rotate   a new key signs; the two before it still verify, and a page load renews a cookie that they signed
  drop     only the newest key verifies; for a leaked key, or once everybody has visited since a rotation
"""
URLS = """\
Prints the addresses of the Naru that runs on the data folder, and the password of Flower, which `up` does not print.
"""
BACKUP = """\
Makes one encrypted and checked backup of the database with a manifest, and deletes older ones by the retention rule.
Naru may be running or stopped. See docs/operations/backup.md

Make the key first, once, and keep a copy of it away from the backups:
  ./naru backup --new-key naru-backup.key
  NARU_BACKUP_KEY_FILE=naru-backup.key ./naru backup
"""
RESTORE = """\
Loads a backup beside Naru's data, proves it, and then swaps the two. A failure before the swap changes nothing. The old
data is kept under another name, and the command prints how to go back. Naru may be running: web and workers reconnect.
Answers that were in progress in the backup end as failed, and are not retried.
"""
DRILL = """\
Loads the newest backup (the bucket's copy, if there is a bucket) into a temporary PostgreSQL, counts and reads the
restored rows, and deletes the copy. The metric file has the time of the last success.
"""
TEST = """\
Runs ruff, mypy, the import rules and pytest, on their own servers; your own settings and servers are not touched.
All arguments after `test` go to pytest: ./naru test tests/launcher -k port -x

`./naru test faults` injects the faults of docs/reliability.md; takes hours: see ./naru test faults --help
`./naru test attacks` attacks the page on loopback while a person uses it; ten minutes: see ./naru test attacks --help
`./naru test fuzz --minutes 120` feeds hostile answers to both renderers of the page, and reports the result
`./naru test deploy` starts docker-compose.yml on a Docker engine and rolls it under load; --help says how
`./naru test servers` tries the providers on llama.cpp, LiteLLM and others, installed for it; --help says how
"""
BENCH = """\
Measures the figures of docs/performance.md, on its own servers. See ./naru bench --help for its options.
"""


STOPPED = 130
MOST_WORKERS = 99  # processes on one machine; each runs hundreds of answers


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are safe to print, although they quote the input."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with code 2."""
        super().error(terminal.line(message))


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    terminal.tolerate_every_character()
    try:
        return dispatch(arguments)
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        # The reader has left (`| head`). Discard the buffered output, so that Python does not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED


def dispatch(arguments: Sequence[str]) -> int:  # noqa: PLR0911 - one for each command with arguments of its own
    """Find the command and run it. Some commands parse their own arguments."""
    if list(arguments[:2]) in (["test", name] for name in ("faults", "attacks", "fuzz", "deploy", "servers")):
        from deploy.cli.checks import suite

        return suite(arguments[1], list(arguments[2:]))
    if list(arguments[:1]) == ["compose"]:
        from deploy.compose.cli import main as compose

        return compose(list(arguments[1:]))
    if list(arguments[:1]) in (["people"], ["admin"], ["providers"]):
        from deploy.cli import admin, people, providers

        mains = {"people": people.main, "admin": admin.main, "providers": providers.main}
        return mains[arguments[0]](list(arguments[1:]))
    if list(arguments[:1]) == ["audit"]:
        from deploy.cli.audit import main as audit

        return audit(list(arguments[1:]))
    if list(arguments[:1]) == ["bench"]:
        from deploy.cli.checks import bench

        return bench(list(arguments[1:]))
    if arguments[:1] == ["test"] and not {"-h", "--help"} & set(arguments):
        from deploy.cli.checks import test

        return test(list(arguments[1:]))
    chosen = make_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = chosen.run
    return run(chosen)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands and their options."""
    parser = Parser(prog="./naru", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_up(command(commands, "up", "start everything on this machine", UP))
    add_ask(command(commands, "ask", "ask one question from the terminal", ASK))
    doctor = command(commands, "doctor", "find problems, and say what to do", DOCTOR)
    doctor.add_argument("--providers", action="store_true", help="also ask models a tiny question; may cost a little")
    add_data(doctor)
    doctor.set_defaults(run=run_doctor)
    add_erase(command(commands, "erase", "remove everything of one person", ERASE))
    add_keys(command(commands, "keys", "replace the key that signs the browsers' cookies", KEYS))
    urls = command(commands, "urls", "print the addresses and Flower's password", URLS)
    add_data(urls)
    urls.set_defaults(run=run_urls)
    add_backup(command(commands, "backup", "make an encrypted backup, or list them", BACKUP))
    add_restore(command(commands, "restore", "replace the data with a backup, or undo that", RESTORE))
    add_drill(command(commands, "restore-drill", "prove that the newest backup can be restored", DRILL))
    command(commands, "test", "run all checks and tests; arguments go to pytest", TEST)
    command(commands, "bench", "measure the speed; --quick takes minutes instead of an hour", BENCH)
    command(commands, "people", "accounts: invite, list, disable; ./naru people --help", "")
    command(commands, "audit", "the record of events: list, verify, export; ./naru audit --help", "")
    command(commands, "admin", "lanes, workers, requests, the banner; ./naru admin --help", "")
    command(commands, "providers", "providers and their models; ./naru providers --help", "")
    command(commands, "compose", "set up and update the containers: ./naru compose --help", "")
    lock = command(commands, "lock", "remake requirements.lock after a change of pyproject.toml (needs uv)", "")
    lock.add_argument("--upgrade", action="store_true", help="upgrade all packages to their newest versions")
    lock.set_defaults(run=run_lock)
    return parser


def command(commands: argparse._SubParsersAction[Parser], name: str, line: str, text: str) -> argparse.ArgumentParser:
    """Add one command: its line in the overview and its own help text."""
    return commands.add_parser(
        name, help=line, description=text or line, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_up(up: argparse.ArgumentParser) -> None:
    """Add the options of `up`."""
    add_data(up)
    up.add_argument("--port", type=port, metavar="N", help="the page's port (default 8501; 0 picks a free one)")
    up.add_argument(
        "--host", metavar="ADDRESS", help="address that the page listens on (default 127.0.0.1, this machine only)"
    )
    up.add_argument("--workers", type=workers, default=1, metavar="N", help="worker processes (default 1)")
    up.add_argument("--flower-port", type=port, default=0, metavar="N", help="Flower's port (default: a free one)")
    up.set_defaults(run=run_up)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the option for the data folder."""
    parser.add_argument(
        "--data", type=folder, default=ROOT / ".naru", metavar="DIR", help="data folder (default: .naru/ beside naru)"
    )


def add_ask(ask: argparse.ArgumentParser) -> None:
    """Add the options of `ask`."""
    ask.add_argument("question", help="the question; - reads it from standard input")
    ask.add_argument("--model", metavar="NAME", help="provider/model (default: the first that the workers offer)")
    ask.add_argument("--anyway", action="store_true", help="send it although NARU_PERSONAL_DATA=warn keeps it back")
    ask.add_argument("--json", action="store_true", help="end with one JSON object on stdout; the text goes to stderr")
    add_data(ask)
    ask.set_defaults(run=run_ask)


def add_erase(erase: argparse.ArgumentParser) -> None:
    """Add the options of `erase`."""
    erase.add_argument("owner", metavar="OWNER", help="person:ID, browser:ID or terminal")
    erase.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    add_data(erase)
    erase.set_defaults(run=run_erase)


def add_keys(keys: argparse.ArgumentParser) -> None:
    """Add the options of `keys`."""
    keys.add_argument("action", choices=("rotate", "drop"), help="what to do with the keys")
    add_data(keys)
    keys.set_defaults(run=run_keys)


def add_backup(backup: argparse.ArgumentParser) -> None:
    """Add the options of `backup`."""
    other = backup.add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="list the backups here and in the bucket; make none")
    other.add_argument("--new-key", type=folder, metavar="FILE", help="make the key for the backups; make no backup")
    other.add_argument(
        "--at", type=moment, metavar="HH:MM", help="keep running, and make one every day at this time (UTC)"
    )
    add_data(backup)
    backup.set_defaults(run=run_backup)


def add_restore(restore: argparse.ArgumentParser) -> None:
    """Add the options of `restore`."""
    what = restore.add_mutually_exclusive_group(required=True)
    what.add_argument("name", nargs="?", metavar="NAME", help="a backup from `backup --list`, or newest")
    what.add_argument(
        "--undo", nargs="?", const="", metavar="DATABASE", help="put back the data that a restore replaced"
    )
    what.add_argument("--forget", metavar="DATABASE", help="drop the data that a restore kept")
    restore.add_argument("--no-grants", action="store_true", help="leave out the rights of other roles")
    add_data(restore)
    restore.set_defaults(run=run_restore)


def add_drill(drill: argparse.ArgumentParser) -> None:
    """Add the options of `restore-drill`."""
    drill.add_argument(
        "--at",
        type=moment,
        metavar='"DAY HH:MM"',
        help='keep running, and do it every week at this time (UTC), such as "sun 04:30"',
    )
    drill.add_argument(
        "--here", action="store_true", help="use a database beside Naru's, instead of a separate PostgreSQL"
    )
    add_data(drill)
    drill.set_defaults(run=run_drill)


def moment(text: str) -> object:
    """Parse a time of the day or the week."""
    from deploy.backup.schedule import moment_of

    try:
        return moment_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text} is not a valid time; use 03:15, or "sun 04:30" for once a week'
        ) from None


def workers(text: str) -> int:
    """Parse the number of worker processes."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"{text} is not a valid number of workers; use 1–{MOST_WORKERS}")
    return int(text)


def folder(text: str) -> Path:
    """Parse the name of a folder. An empty one (from an unset variable) must not mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; name a folder, or leave out --data")
    return Path(text)


def run_up(chosen: argparse.Namespace) -> int:
    from deploy.cli.up import Options, up

    return up(
        Options(
            data=chosen.data.resolve(),
            host=chosen.host,
            port=chosen.port,
            workers=chosen.workers,
            flower_port=chosen.flower_port,
        )
    )


def run_ask(chosen: argparse.Namespace) -> int:
    from deploy.cli.ask import ask

    text = sys.stdin.read(terminal.LONGEST_INPUT + 1) if chosen.question == "-" else chosen.question
    if len(text) > terminal.LONGEST_INPUT:
        sys.stderr.write("naru ask: the question on standard input is too long. Shorten it, or send it in parts.\n")
        return 1
    return ask(text, model=chosen.model, as_json=chosen.json, is_confirmed=chosen.anyway, data=chosen.data.resolve())


def run_doctor(chosen: argparse.Namespace) -> int:
    from deploy.cli.doctor import examine

    return examine(data=chosen.data.resolve(), tries_providers=chosen.providers)


def run_erase(chosen: argparse.Namespace) -> int:
    from deploy.cli import erase

    return erase.run(chosen.owner, data=chosen.data.resolve(), is_confirmed=chosen.yes)


def run_keys(chosen: argparse.Namespace) -> int:
    from deploy.cli import keys

    act = keys.rotate if chosen.action == "rotate" else keys.drop
    return act(chosen.data.resolve())


def run_urls(chosen: argparse.Namespace) -> int:
    from deploy.cli.urls import show

    return show(data=chosen.data.resolve())


def run_backup(chosen: argparse.Namespace) -> int:
    from deploy.backup import commands

    if chosen.new_key:
        return commands.new_key(chosen.new_key)
    if chosen.list:
        return commands.show(chosen.data.resolve())
    return commands.backup(chosen.data.resolve(), at=chosen.at)


def run_restore(chosen: argparse.Namespace) -> int:
    from deploy.backup import commands

    if chosen.undo is not None:
        return commands.undo(chosen.data.resolve(), chosen.undo)
    if chosen.forget is not None:
        return commands.forget(chosen.data.resolve(), chosen.forget)
    return commands.restore_from(chosen.data.resolve(), chosen.name, grants=not chosen.no_grants)


def run_drill(chosen: argparse.Namespace) -> int:
    from deploy.backup import commands

    return commands.restore_drill(chosen.data.resolve(), at=chosen.at, here=chosen.here)


def port(words: str) -> int:
    """Parse a port."""
    if not (words.isascii() and words.isdecimal()) or int(words[:9]) > 65535:
        raise argparse.ArgumentTypeError(f"{words} is not a valid port; use 0–65535 (0 picks a free one)")
    return int(words)


def run_lock(chosen: argparse.Namespace) -> int:
    from deploy.cli.lock import remake_lock

    return remake_lock(upgrade=chosen.upgrade)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
