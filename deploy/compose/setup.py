"""`./naru compose setup`: the settings (.env) and the secrets (secrets/) of docker-compose.yml.

Nothing that exists is overwritten and no secret is shown. A container's process is another user than whoever runs
this, so the secrets' files are readable for all and their folder for its owner only: a mount leads past the folder,
for the one file, and nobody else on the machine comes by it (decision 0016).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

FOLDER_MODE, SECRET_MODE, SETTINGS_MODE = 0o700, 0o444, 0o600
NAME = re.compile(r"(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", re.IGNORECASE)
VENDORS = ("openai_api_key", "anthropic_api_key")
#: What only the person can have. compose mounts a file for each: an empty one says that there is none.
GIVEN = (*VENDORS, "alert_webhook_url", "heartbeat_webhook_url", "backup_s3_access_key", "backup_s3_secret_key")
LOGGING = (
    *("elastic_password", "kibana_system_password", "kibana_encryption_key", "logstash_internal_password"),
    "logs_operator_password",
)
SIMULATOR = "http://simulator:8080"


class SetupProblem(Exception):
    """It cannot be set up; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the person asked for."""

    folder: Path
    domain: str
    email: str
    files: Mapping[str, Path | None]
    environ: Mapping[str, str]


def set_up(wishes: Wishes) -> int:
    """Write what is missing; say what there is and what comes next."""
    if wishes.domain and not NAME.fullmatch(wishes.domain):
        raise SetupProblem(f"{wishes.domain!r} is no name of a machine: give one as chat.example.org.")
    if wishes.email and not wishes.domain:
        raise SetupProblem("a certificate is for a name: give --domain with --email.")
    folder = private_folder(wishes.folder / "secrets")
    made = write_generated(folder) + write_given(folder, wishes)
    has_model = any((folder / name).stat().st_size for name in VENDORS) or bool(wishes.environ.get("OPENAI_BASE_URL"))
    settings = wishes.folder / ".env"
    if is_new := not settings.exists():
        write_once(settings, settings_text(wishes, has_model=has_model), mode=SETTINGS_MODE)
    print("\n".join(report(wishes, made=made, has_model=has_model, is_new=is_new)))
    return 0


def private_folder(folder: Path) -> Path:
    """The folder, for its owner only."""
    try:
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise SetupProblem(
            f"cannot make {folder} ({error.strerror}): make its folder writable for this user."
        ) from None
    return folder


def write_generated(folder: Path) -> list[str]:
    """The secrets that are ours to make; the names of those that were missing."""
    postgres, redis = password_of_naru(folder), kept_or_new(folder / "redis_password")
    contents = {
        "postgres_superuser_password": secrets.token_hex(24),
        "postgres_password": postgres,
        "database_url": f"postgresql://naru:{postgres}@postgres:5432/naru",
        "postgres_monitor_password": secrets.token_hex(24),
        "redis_password": redis,
        "redis_auth.conf": f"requirepass {redis}",
        "redis_url": f"redis://:{redis}@redis:6379/0",
        "secret_key": secrets.token_urlsafe(48),
        "flower_password": secrets.token_urlsafe(24),
        "redis_exporter.json": json.dumps({"redis://redis:6379": redis}),
        "grafana_password": secrets.token_urlsafe(24),
        "backup_key": secrets.token_hex(32),
        **{name: secrets.token_hex(24) for name in LOGGING},
    }
    return [name for name, text in contents.items() if write_once(folder / name, f"{text}\n", mode=SECRET_MODE)]


def password_of_naru(folder: Path) -> str:
    """postgres_password; where only that is gone, what database_url has: the two must not differ."""
    path, address = folder / "postgres_password", folder / "database_url"
    if path.exists() or not address.exists():
        return kept_or_new(path)
    try:
        password = unquote(urlsplit(address.read_text(encoding="utf-8").strip()).password or "")
    except (OSError, ValueError):  # no text, or no address
        password = ""
    if not password:
        raise SetupProblem(
            f"{address} holds no password of naru: write postgresql://naru:PASSWORD@postgres:5432/naru into it,"
            " with the password that Postgres has, or delete it where Postgres has no volume yet; then run this again."
        )
    return password


def kept_or_new(path: Path) -> str:
    """What the file holds; a new password where there is none. Letters and digits: it stands in addresses."""
    return path.read_text().strip() if path.exists() else secrets.token_hex(24)


def write_given(folder: Path, wishes: Wishes) -> list[str]:
    """What was given; an empty file for what was not."""
    given = {name: given_value(name, wishes) for name in GIVEN}
    written = []
    for name, value in given.items():
        path = folder / name
        if path.exists() and path.stat().st_size == 0 and value:
            path.unlink()  # it said only that there was none
        if write_once(path, f"{value}\n" if value else "", mode=SECRET_MODE) and value:
            written.append(name)
    return written


def given_value(name: str, wishes: Wishes) -> str:
    """From its file, else from the environment; empty for none."""
    path = wishes.files.get(name) or wishes.environ.get(f"{name.upper()}_FILE")
    if not path:
        return wishes.environ.get(name.upper(), "").strip()
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SetupProblem(f"{path} cannot be read: name a text file that holds {name} and nothing else.") from None
    if len(value.split()) != 1:
        raise SetupProblem(f"{path} does not hold {name}: it has to be one word.")
    return value


def write_once(path: Path, text: str, *, mode: int) -> bool:
    """Write a file that is not there, whole or not at all; whether it was missing."""
    if path.exists():
        return False
    half_made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        half_made.chmod(mode)
        os.link(half_made, path)  # fails where another run was faster
    except FileExistsError:
        return False
    except OSError as error:
        raise SetupProblem(f"cannot write {path} ({error.strerror}).") from None
    finally:
        half_made.unlink(missing_ok=True)
    return True


def settings_text(wishes: Wishes, *, has_model: bool) -> str:
    """.env: nothing in it is secret."""
    profiles = [*([] if has_model else ["demo"]), *(["certificate"] if wishes.email else [])]
    base = {name: wishes.environ.get(name, "") for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL")}
    lines = [
        "# Settings of docker-compose.yml, made by ./naru compose setup and yours to change; secrets are in secrets/.",
        "# What there is besides: docs/operations/compose.md",
        "COMPOSE_PROJECT_NAME=naru",
        "# demo: the demo model; certificate: Let's Encrypt; monitoring, logging, backup: docs/operations/",
        f"COMPOSE_PROFILES={','.join(profiles)}",
        "# The images' tag: change it with every version, then ./naru compose roll",
        "NARU_VERSION=1",
        "# The name people type, and whom Let's Encrypt writes to",
        f"NARU_DOMAIN={wishes.domain}",
        f"NARU_EMAIL={wishes.email}",
        "NARU_HTTP_PORT=80",
        "NARU_HTTPS_PORT=443",
        "# Networks of a balancer in front, which names its clients in X-Forwarded-For: 10.0.0.0/8,2001:db8::/32",
        "NARU_TRUSTED_PROXIES=",
        "# Processes that every `up` keeps",
        "NARU_WEBS=1",
        "NARU_WORKERS=1",
        f"OPENAI_BASE_URL={base['OPENAI_BASE_URL']}",
        f"ANTHROPIC_BASE_URL={base['ANTHROPIC_BASE_URL']}",
        f"NARU_SIMULATOR_URL={'' if has_model else SIMULATOR}",
    ]
    return "\n".join(lines) + "\n"


def report(wishes: Wishes, *, made: list[str], has_model: bool, is_new: bool) -> list[str]:
    """What the person reads."""
    address = f"https://{domain_of(wishes.folder / '.env') or 'localhost'}/"
    lines = [
        f"secrets/: made {', '.join(made)}" if made else "secrets/: all there; nothing was changed",
        ".env: made" if is_new else ".env: there already; it was not touched",
    ]
    if not has_model:
        lines.append("No key was given: the demo model answers. For a real one run this again with --openai-key FILE,")
        lines.append("take demo out of COMPOSE_PROFILES and NARU_SIMULATOR_URL out of .env, and bring it up again.")
    if not wishes.domain and is_new:
        lines.append("No --domain was given: the certificate is self-signed, and browsers will say so.")
    if not (wishes.folder / "secrets" / "alert_webhook_url").stat().st_size:
        lines.append(
            "No --alert-webhook was given: the profile monitoring needs one, Alertmanager does not start without."
        )
    if not (wishes.folder / "secrets" / "heartbeat_webhook_url").stat().st_size:
        lines.append(
            "No --heartbeat-webhook was given: nobody outside notices when all of this, or its monitoring, is silent:"
        )
        lines.append("docs/operations/alerts.md#watchdog")
    return [
        *lines,
        "",
        "Next:  docker compose up -d          (or: docker-compose up -d)",
        f"Then:  {address}   and {address}flower/ as naru, with the password in secrets/flower_password",
        "Copy secrets/backup_key to a place where the backups are not: without it no backup can be read.",
    ]


def domain_of(settings: Path) -> str:
    """What .env has, which may be older than this run."""
    found = re.search(r"^NARU_DOMAIN=(\S*)", settings.read_text(), re.MULTILINE)
    return found[1] if found else ""
