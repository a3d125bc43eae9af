"""Makes Naru's environment from requirements.lock, then becomes deploy.cli.main inside it.

It needs Python 3.11 or newer and only the standard library, and imports nothing of Naru. Besides shared/settings it is
the only code that touches the process environment, because it runs before anything else can be imported.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
HOME = ROOT / ".naru-env"
STAMP = HOME / "made.json"
PYTHON = HOME / "bin" / "python"
#: Only `naru test`, `bench` and `lock` need the packages below this line of the lock.
TEST_PART = "# ---- test ----"
NEEDED_MEGABYTES = 1500
WITH_TEST_PART = {"test", "bench", "lock"}
COMMANDS = {
    *("up", "ask", "urls", "doctor", "erase", "backup", "restore", "restore-drill", "test", "bench", "lock", "compose"),
    "admin",
    "people",
    "providers",
    "audit",
}
#: Runs the command line in the current Python: help texts and errors need only the standard library.
WORDS = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from deploy.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


class CannotMake(Exception):
    """The environment cannot be made; the message says why and what to do."""


def main(arguments: list[str]) -> NoReturn:
    """Make the environment when it is missing or old, then exec the command line in it."""
    if wants_words_only(arguments):
        os.execv(sys.executable, [sys.executable, "-I", "-c", WORDS, str(ROOT), *arguments])
    parts = "run test" if arguments[:1] and arguments[0] in WITH_TEST_PART else "run"
    try:
        in_use = ensure(parts)
    except CannotMake as error:
        raise SystemExit(f"naru: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("naru: stopped while installing. The next start continues from here.") from None
    os.set_inheritable(in_use.fileno(), True)  # held for as long as the command runs
    for name in ("PYTHONHOME", "PYTHONSAFEPATH", "PYTHONSTARTUP"):
        os.environ.pop(name, None)
    os.environ["PYTHONPATH"] = str(ROOT)
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), "-P", "-m", "deploy.cli.main", *arguments])


def wants_words_only(arguments: list[str]) -> bool:
    """Return whether the command needs no environment, because it only prints help or an error, or uses containers.

    Nobody should wait for 600 MB to read a sentence.
    """
    if not arguments or arguments[0] not in {*COMMANDS, "--"} or arguments[0] == "compose":
        return True
    # A question follows `--`. The bench and the suites (faults, attacks, fuzz, deploy, servers) have their own --help.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    has_own_help = arguments[:1] == ["bench"] or (
        arguments[:1] == ["test"] and arguments[1:2] in (["faults"], ["attacks"], ["fuzz"], ["deploy"], ["servers"])
    )
    return bool({"-h", "--help"} & set(options)) and not has_own_help


def ensure(parts: str) -> IO[str]:
    """Make sure that the environment holds `parts`; return its shared lock, which keeps others from remaking it."""
    wanted = wanted_stamp(parts)
    in_use = open_lock("use")
    fcntl.flock(in_use, fcntl.LOCK_SH)
    if satisfies(read_stamp(), wanted):
        return in_use
    with making():
        found = read_stamp()  # another run may have made it while this one waited
        if not satisfies(found, wanted):
            if not same_base(found, wanted):
                clear(in_use)
            make(wanted, fresh=not same_base(found, wanted))
    fcntl.flock(in_use, fcntl.LOCK_SH)
    return in_use


def wanted_stamp(parts: str) -> dict[str, str]:
    """Return the stamp of an environment that is up to date."""
    try:
        digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise CannotMake(
            f"{LOCK.name} is missing in {ROOT}: this copy of Naru is incomplete. Get a complete one."
        ) from None
    return {"python": sys.version.split()[0], "base": sys.base_prefix, "lock": digest, "parts": parts}


def same_base(found: dict[str, str], wanted: dict[str, str]) -> bool:
    """Return whether parts can be added to the environment, even while Naru runs in it."""
    return all(found.get(key) == wanted[key] for key in ("python", "base", "lock"))


def satisfies(found: dict[str, str], wanted: dict[str, str]) -> bool:
    """Return whether the environment is up to date and has all wanted parts."""
    return same_base(found, wanted) and set(wanted["parts"].split()) <= set(found["parts"].split())


def read_stamp() -> dict[str, str]:
    """Read the stamp. It is written last, so without a readable one the environment is incomplete."""
    try:
        found = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and PYTHON.exists() else {}


def open_lock(purpose: str) -> IO[str]:
    """Open a lock file beside the environment: `making` for the run that makes it, `use` for all that run in it."""
    path = HOME.with_name(f"{HOME.name}.{purpose}")
    try:
        return path.open("a")
    except OSError as error:
        raise CannotMake(f"cannot write {path} ({error.strerror}). Make {ROOT} writable for this user.") from None


@contextlib.contextmanager
def making() -> Iterator[None]:
    """Let only one run make the environment; others wait for it and say so."""
    with open_lock("making") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another naru is installing; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def clear(in_use: IO[str]) -> None:
    """Remove an old or incomplete environment, unless a running Naru uses it."""
    if not HOME.exists():
        return
    try:
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotMake(
            "requirements.lock or Python has changed, but a running naru still uses the environment.\n"
            "      Stop it (Ctrl-C where it runs), then try again."
        ) from None
    STAMP.unlink(missing_ok=True)
    shutil.rmtree(HOME)


def make(wanted: dict[str, str], *, fresh: bool) -> None:
    """Install the wanted parts of the lock with uv, or with pip if there is no uv. Write the stamp last."""
    check_disk()
    uv = shutil.which("uv")
    lines = LOCK.read_text()
    if "test" not in wanted["parts"]:
        lines = lines.partition(TEST_PART)[0]
    say(f"Installing Naru's packages into {HOME.name}/ with {'uv' if uv else 'pip'} (once; about 600 MB) …")
    with tempfile.NamedTemporaryFile("w", suffix=".lock", prefix="naru-") as part:
        part.write(lines)
        part.flush()
        if not (uv and install_with_uv(uv, part.name, fresh=fresh)):
            install_with_pip(part.name, fresh=fresh)
    HOME.joinpath(".gitignore").write_text("*\n")
    STAMP.write_text(json.dumps(wanted))


def check_disk() -> None:
    """Raise CannotMake if the disk has too little space, rather than fail in the middle."""
    free = shutil.disk_usage(ROOT).free // 2**20
    if free < NEEDED_MEGABYTES:
        raise CannotMake(
            f"{ROOT} has {free} MB free, but the packages need {NEEDED_MEGABYTES} MB. Free some space, then try again."
        )


def install_with_uv(uv: str, lock: str, *, fresh: bool) -> bool:
    """Install with uv; return False if it fails (pip may be configured with a mirror that uv does not know)."""
    steps = [[uv, "pip", "install", "--quiet", "--python", str(PYTHON), "--require-hashes", "-r", lock]]
    if fresh:
        steps.insert(0, [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(HOME)])
    for step in steps:
        done = subprocess.run(step, cwd=ROOT, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            say("uv failed; trying pip.")
            return False
    return True


def install_with_pip(lock: str, *, fresh: bool) -> None:
    """Install with venv and pip, and show pip's progress."""
    # An environment made by uv has no pip.
    if fresh or subprocess.run([PYTHON, "-c", "import pip"], stderr=subprocess.DEVNULL).returncode != 0:
        add_pip(fresh=fresh)
    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--no-compile",
    ]
    command += ["--only-binary=:all:", "--require-hashes", "--progress-bar=off", "-r", lock]
    with tempfile.TemporaryFile("w+") as errors:
        installing = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        show_progress(installing, total=Path(lock).read_text().count("=="))
        if installing.wait() != 0:
            errors.seek(0)
            raise CannotMake(explain_pip(errors.read()))


def add_pip(*, fresh: bool) -> None:
    """Make a new environment with pip, or add pip to the existing one."""
    command = [sys.executable, "-I", "-m", "venv", "--clear", str(HOME)] if fresh else [str(PYTHON), "-m", "ensurepip"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode == 0:
        return
    if "ensurepip" in done.stdout or "No module named venv" in done.stdout:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise CannotMake(
            f"this Python ({sys.executable}) has no venv module.\n"
            f"      Debian, Ubuntu: apt install python3-venv (or python{version}-venv); or install uv."
        )
    raise CannotMake(f"the environment could not be created:\n{done.stdout.strip()[-800:]}")


def show_progress(installing: "subprocess.Popen[str]", *, total: int) -> None:
    """Count packages: in one changing line on a terminal, in a line for every 20 packages elsewhere."""
    terminal = sys.stderr.isatty()
    count = 0
    for line in installing.stdout or ():
        if line.startswith("Collecting "):
            count += 1
            if terminal:
                sys.stderr.write(f"\r  {count} of about {total}: {line.split()[1].split('=')[0]:<40.40}")
            elif count % 20 == 0:
                say(f"  {count} of about {total} packages …")
        elif line.startswith("Installing collected"):
            sys.stderr.write("\r" + " " * 70 + "\r" if terminal else "")
            say("  unpacking …")
        sys.stderr.flush()


def explain_pip(errors: str) -> str:
    """Return a sentence about the cause, with the relevant lines of pip's output."""
    tail = "\n".join(line for line in errors.strip().splitlines() if "ERROR" in line)[-600:] or errors[-600:]
    lowered = errors.lower()
    if "no space left" in lowered:
        return "the disk is full. Free some space, then try again; naru recreates the environment."
    if "no matching distribution" in lowered and "connection" not in lowered and "retrying" not in lowered:
        return (
            f"there is no ready-made package for {platform.system()} {platform.machine()}, "
            f"Python {platform.python_version()}:\n{tail}\n"
            "      Use another Python (3.11 to 3.13 are well covered) or the containers: docker compose up"
        )
    if any(word in lowered for word in ("connection", "timed out", "temporary failure", "name resolution", "ssl")):
        return (
            f"the packages could not be fetched:\n{tail}\n"
            "      Check the network; mirrors and proxies are set as usual (PIP_INDEX_URL, HTTPS_PROXY, …)."
        )
    return f"the packages could not be installed:\n{tail}"


def say(line: str) -> None:
    """Print progress to stderr; stdout belongs to the command."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
