"""The command line of Naru on one machine. Started by bootstrap.py, in Naru's own environment.

Each command's work is in the module of its name; here are only words and arguments.
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
  ./naru doctor             looks at everything an operator would, and says what to do
  ./naru keys rotate        a new key for the browsers' cookies; nobody loses a conversation
  ./naru backup             one encrypted, checked backup; --list shows them
  ./naru restore NAME       puts one in the place of the data; what was there is kept
  ./naru restore-drill      proves that the newest one can be restored; harms nothing
  ./naru test               the checks and the tests, on servers of their own
  ./naru bench              how fast it is here, beside what one would use instead
  ./naru compose setup      before docker compose up: writes .env and secrets/; compose roll: a new version
"""
UP = f"""\
Starts everything on this machine and keeps it running until Ctrl-C; the data stays.

PostgreSQL and Redis come with Naru and live in the data folder; set DATABASE_URL or REDIS_URL to use your own.
Models: set {KEY_VARIABLES}, or {ADDRESS_VARIABLES} (any compatible server); an Ollama on this
machine is found by itself; without any of them a demo simulator answers, and says so.
A second `up` on the same data folder prints the address of the first. A second Ctrl-C stops at once.
"""
ASK = """\
Asks one question by the same path as the page and streams the answer. Uses the Naru that runs on the data folder, or
DATABASE_URL and REDIS_URL. Exit code 0 only for an answer; Ctrl-C stops the answer and keeps what there is.
"""
DOCTOR = """\
Looks at the settings, both servers, the tables, the workers and the models' keys, and says what to do about each.
Exit code 0 when nothing is wrong (hints marked ! do not count).
"""
KEYS = """\
Replaces the key that signs the browsers' cookies, in the data folder. Start Naru again afterwards.

  rotate   a new key signs; the two before it still verify, and a cookie of theirs is renewed when a page is loaded
  drop     only the newest key verifies: after a key became known, or when everybody has come by since a rotation
"""
URLS = """\
Prints the addresses of the Naru that runs on the data folder, and the password of Flower, which `up` does not print.
"""
BACKUP = """\
Makes one encrypted backup of the database, checked and with a manifest, and throws away what newer ones cover.
It works while Naru runs and while it is stopped. All about it: docs/operations/backup.md

First make the key, once, and keep a copy of it where the backups are not:
  ./naru backup --new-key naru-backup.key
  NARU_BACKUP_KEY_FILE=naru-backup.key ./naru backup
"""
RESTORE = """\
Loads a backup beside Naru's data, proves it, and then gives it the data's name: what fails before leaves all as it was.
What was there before is kept under another name, and the way back is printed. Works while Naru runs: web and workers
reconnect. Answers that were under way in the backup end as failed, and are not asked again by themselves.
"""
DRILL = """\
Loads the newest backup (the bucket's copy, where there is a bucket) into a PostgreSQL that is made for it, counts and
reads what came back, and throws it away. When it last went well is in the metric file.
"""
TEST = """\
Runs ruff, mypy, the import rules and pytest, on servers of their own; nothing of your environment is touched.
Everything after `test` goes to pytest: ./naru test tests/launcher -k port -x

`./naru test faults` injects the faults of docs/reliability.md instead; it takes hours: see ./naru test faults --help
`./naru test attacks` attacks the page on loopback beside an honest person; ten minutes: see ./naru test attacks --help
`./naru test fuzz --minutes 120` draws hostile answers in both renderers of the page, and says what they did
`./naru test deploy` brings docker-compose.yml up on a Docker engine and rolls it under load; --help says how
"""
BENCH = """\
Measures the figures of docs/performance.md, on servers of their own: see ./naru bench --help for its options.
"""


STOPPED = 130
MOST_WORKERS = 99  # processes on one machine; each carries hundreds of answers


class Parser(argparse.ArgumentParser):
    """argparse, whose complaints quote what was typed: as one sentence, whatever was typed."""

    def error(self, message: str) -> NoReturn:
        """Exit code 2."""
        super().error(terminal.line(message))


def main(arguments: Sequence[str]) -> int:
    """Parse, and do what was asked; returns the exit code."""
    terminal.tolerate_every_character()
    try:
        return carry_out(arguments)
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        # Who reads has left (`| head`). What is still buffered goes nowhere, so that Python's end says nothing either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED


def carry_out(arguments: Sequence[str]) -> int:
    """One command."""
    if list(arguments[:2]) in (["test", "faults"], ["test", "attacks"], ["test", "fuzz"], ["test", "deploy"]):
        from deploy.cli.checks import suite

        return suite(arguments[1], list(arguments[2:]))
    if list(arguments[:1]) == ["compose"]:
        from deploy.compose.cli import main as compose

        return compose(list(arguments[1:]))
    if list(arguments[:1]) == ["bench"]:
        from deploy.cli.checks import bench

        return bench(list(arguments[1:]))
    if arguments[:1] == ["test"] and not {"-h", "--help"} & set(arguments):
        from deploy.cli.checks import test

        return test(list(arguments[1:]))
    chosen = parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = chosen.run
    return run(chosen)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    made = Parser(prog="./naru", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = made.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_up(command(commands, "up", "start everything on this machine", UP))
    add_ask(command(commands, "ask", "ask one question from the terminal", ASK))
    doctor = command(commands, "doctor", "look for what is wrong, and say what to do", DOCTOR)
    add_data(doctor)
    doctor.set_defaults(run=run_doctor)
    add_keys(command(commands, "keys", "replace the key that signs the browsers' cookies", KEYS))
    urls = command(commands, "urls", "print the addresses and Flower's password", URLS)
    add_data(urls)
    urls.set_defaults(run=run_urls)
    add_backup(command(commands, "backup", "make an encrypted backup, or list them", BACKUP))
    add_restore(command(commands, "restore", "put a backup in the place of the data, or undo that", RESTORE))
    add_drill(command(commands, "restore-drill", "prove that the newest backup can be restored", DRILL))
    command(commands, "test", "run all checks and tests; arguments go to pytest", TEST)
    command(commands, "bench", "measure how fast it is; --quick takes minutes instead of an hour", BENCH)
    command(commands, "compose", "set up and renew what runs in containers: ./naru compose --help", "")
    lock = command(commands, "lock", "remake requirements.lock after a change of pyproject.toml (needs uv)", "")
    lock.add_argument("--upgrade", action="store_true", help="take the newest versions, not only what changed")
    lock.set_defaults(run=run_lock)
    return made


def command(commands: argparse._SubParsersAction[Parser], name: str, line: str, text: str) -> argparse.ArgumentParser:
    """One command, with its line in the overview and its own text."""
    return commands.add_parser(
        name, help=line, description=text or line, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_up(up: argparse.ArgumentParser) -> None:
    """The options of `up`."""
    add_data(up)
    up.add_argument("--port", type=port, metavar="N", help="the page's port (default 8501; 0: any free one)")
    up.add_argument("--host", metavar="ADDRESS", help="where the page listens (default 127.0.0.1, this machine only)")
    up.add_argument("--workers", type=workers, default=1, metavar="N", help="worker processes (default 1)")
    up.add_argument("--flower-port", type=port, default=0, metavar="N", help="Flower's port (default: any free one)")
    up.set_defaults(run=run_up)


def add_data(made: argparse.ArgumentParser) -> None:
    """The data folder."""
    made.add_argument(
        "--data", type=folder, default=ROOT / ".naru", metavar="DIR", help="data folder (default: .naru/ beside naru)"
    )


def add_ask(ask: argparse.ArgumentParser) -> None:
    """The options of `ask`."""
    ask.add_argument("question", help="the question; - reads it from standard input")
    ask.add_argument("--model", metavar="NAME", help="provider/model (default: the first that the workers offer)")
    ask.add_argument("--json", action="store_true", help="end with one JSON object on stdout; the text goes to stderr")
    add_data(ask)
    ask.set_defaults(run=run_ask)


def add_keys(keys: argparse.ArgumentParser) -> None:
    """The options of `keys`."""
    keys.add_argument("action", choices=("rotate", "drop"), help="what to do with the keys")
    add_data(keys)
    keys.set_defaults(run=run_keys)


def add_backup(backup: argparse.ArgumentParser) -> None:
    """The options of `backup`."""
    other = backup.add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="list the backups, here and in the bucket; make none")
    other.add_argument("--new-key", type=folder, metavar="FILE", help="make the key of the backups; make no backup")
    other.add_argument("--at", type=moment, metavar="HH:MM", help="stay, and make one every day at this time (UTC)")
    add_data(backup)
    backup.set_defaults(run=run_backup)


def add_restore(restore: argparse.ArgumentParser) -> None:
    """The options of `restore`."""
    what = restore.add_mutually_exclusive_group(required=True)
    what.add_argument("name", nargs="?", metavar="NAME", help="a backup, as --list shows it, or newest")
    what.add_argument("--undo", nargs="?", const="", metavar="DATABASE", help="put back what a restore had replaced")
    what.add_argument("--forget", metavar="DATABASE", help="drop what a restore has kept")
    restore.add_argument("--no-grants", action="store_true", help="leave out what other roles were allowed")
    add_data(restore)
    restore.set_defaults(run=run_restore)


def add_drill(drill: argparse.ArgumentParser) -> None:
    """The options of `restore-drill`."""
    drill.add_argument(
        "--at", type=moment, metavar='"DAY HH:MM"', help='stay, and do it every week then (UTC), like "sun 04:30"'
    )
    drill.add_argument(
        "--here", action="store_true", help="in a database beside Naru's, not in a PostgreSQL of its own"
    )
    add_data(drill)
    drill.set_defaults(run=run_drill)


def moment(text: str) -> object:
    """A time of the day or the week; argparse says the sentence."""
    from deploy.backup.schedule import moment_of

    try:
        return moment_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text} is no time: write 03:15, or "sun 04:30" for once a week') from None


def workers(text: str) -> int:
    """How many worker processes; argparse says the sentence."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"{text} is no number of workers: from 1 to {MOST_WORKERS} on one machine")
    return int(text)


def folder(text: str) -> Path:
    """A data folder as it is typed. An empty one (an unset variable, for one) is not the folder one stands in."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: name a folder, or leave --data out")
    return Path(text)


def run_up(chosen: argparse.Namespace) -> int:
    """./naru up"""
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
    """./naru ask"""
    from deploy.cli.ask import ask

    text = sys.stdin.read(terminal.LONGEST_INPUT + 1) if chosen.question == "-" else chosen.question
    if len(text) > terminal.LONGEST_INPUT:
        sys.stderr.write("naru ask: what comes on standard input is too long for any question.\n")
        return 1
    return ask(text, model=chosen.model, as_json=chosen.json, data=chosen.data.resolve())


def run_doctor(chosen: argparse.Namespace) -> int:
    """./naru doctor"""
    from deploy.cli.doctor import examine

    return examine(data=chosen.data.resolve())


def run_keys(chosen: argparse.Namespace) -> int:
    """./naru keys"""
    from deploy.cli import keys

    act = keys.rotate if chosen.action == "rotate" else keys.drop
    return act(chosen.data.resolve())


def run_urls(chosen: argparse.Namespace) -> int:
    """./naru urls"""
    from deploy.cli.urls import show

    return show(data=chosen.data.resolve())


def run_backup(chosen: argparse.Namespace) -> int:
    """./naru backup"""
    from deploy.backup import commands

    if chosen.new_key:
        return commands.new_key(chosen.new_key)
    if chosen.list:
        return commands.show(chosen.data.resolve())
    return commands.backup(chosen.data.resolve(), at=chosen.at)


def run_restore(chosen: argparse.Namespace) -> int:
    """./naru restore"""
    from deploy.backup import commands

    if chosen.undo is not None:
        return commands.undo(chosen.data.resolve(), chosen.undo)
    if chosen.forget is not None:
        return commands.forget(chosen.data.resolve(), chosen.forget)
    return commands.restore_from(chosen.data.resolve(), chosen.name, grants=not chosen.no_grants)


def run_drill(chosen: argparse.Namespace) -> int:
    """./naru restore-drill"""
    from deploy.backup import commands

    return commands.restore_drill(chosen.data.resolve(), at=chosen.at, here=chosen.here)


def port(words: str) -> int:
    """A port as it is typed; argparse says the sentence."""
    if not (words.isascii() and words.isdecimal()) or int(words[:9]) > 65535:
        raise argparse.ArgumentTypeError(f"{words} is no port: a number from 0 (any free one) to 65535")
    return int(words)


def run_lock(chosen: argparse.Namespace) -> int:
    """./naru lock"""
    from deploy.cli.lock import remake_lock

    return remake_lock(upgrade=chosen.upgrade)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
