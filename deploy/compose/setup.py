"""`./naru compose setup`: the settings (.env) and the secrets (secrets/) of docker-compose.yml.

It overwrites nothing and shows no secret. A container's process runs as another user than the person who runs this, so
everyone may read the files of the secrets, but only the owner may enter their folder. A container that mounts one file
does not pass through the folder; other users of the machine would have to (decision 0016).

Imports the standard library only: it runs before any package is installed.
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

from shared.vendors import COMPATIBLE, WITH_KEY, either, setting_of

FOLDER_MODE, SECRET_MODE, SETTINGS_MODE = 0o700, 0o444, 0o600
NAME = re.compile(r"(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", re.IGNORECASE)
VENDOR_KEYS = tuple(setting_of(vendor.key_variable) for vendor in WITH_KEY)
#: For each secret that only the user has: the option that names its file, its name in secrets/, and its help text.
OPTIONS = (
    *((f"--{vendor.name}-key", setting_of(vendor.key_variable), f"{vendor.title}'s key") for vendor in WITH_KEY),
    ("--oidc-secret", "oidc_client_secret", "the secret of Naru at the company's sign-in service"),
    ("--alert-webhook", "alert_webhook_url", "the address that alerts are sent to"),
    ("--heartbeat-webhook", "heartbeat_webhook_url", "the address that a heartbeat is sent to every five minutes"),
    ("--s3-access-key", "backup_s3_access_key", "the bucket's access key, for backups"),
    ("--s3-secret-key", "backup_s3_secret_key", "the bucket's secret key"),
    ("--smtp-password", "smtp_password", "the password at the SMTP server, for mail"),
)
#: compose mounts a file for each of these; it is empty if the user gave nothing.
GIVEN = tuple(name for _, name, _ in OPTIONS)
LOGGING = (
    *("elastic_password", "kibana_system_password", "kibana_encryption_key", "logstash_internal_password"),
    "logs_operator_password",
)
SIMULATOR = "http://simulator:8080"


class SetupProblem(Exception):
    """The setup cannot go on; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupOptions:
    """The options of the command, and the environment that may hold secrets too."""

    folder: Path
    domain: str
    email: str
    files: Mapping[str, Path | None]
    environ: Mapping[str, str]


def set_up(options: SetupOptions) -> int:
    """Write the missing files, and print a report. Returns the exit code; raises SetupProblem."""
    if options.domain and not NAME.fullmatch(options.domain):
        raise SetupProblem(f"{options.domain!r} is not a host name: give one like chat.example.org.")
    if options.email and not options.domain:
        raise SetupProblem("a certificate needs a name: give --domain with --email.")
    folder = private_folder(options.folder / "secrets")
    made = write_generated(folder) + write_given(folder, options)
    has_key = any((folder / name).stat().st_size for name in VENDOR_KEYS)
    has_provider = "[providers." in (folder / "providers.toml").read_text(encoding="utf-8", errors="replace")
    has_model = has_key or has_provider or any(options.environ.get(vendor.address_variable) for vendor in COMPATIBLE)
    settings = options.folder / ".env"
    if is_new := not settings.exists():
        write_once(settings, settings_text(options, has_model=has_model), mode=SETTINGS_MODE)
    print("\n".join(report(options, made=made, has_model=has_model, is_new=is_new)))
    return 0


def private_folder(folder: Path) -> Path:
    """Make the folder where it is missing, and close it to other users."""
    try:
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise SetupProblem(
            f"cannot make {folder} ({error.strerror}): make its folder writable for this user."
        ) from None
    return folder


def write_generated(folder: Path) -> list[str]:
    """Generate the missing secrets that the user need not provide; return their names."""
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
        "providers.toml": "# Further providers, with their keys: docs/operations/providers.md",
        **{name: secrets.token_hex(24) for name in LOGGING},
    }
    return [name for name, text in contents.items() if write_once(folder / name, f"{text}\n", mode=SECRET_MODE)]


def password_of_naru(folder: Path) -> str:
    """Return the password in postgres_password, or in database_url where only that is left: the two must not differ."""
    path, address = folder / "postgres_password", folder / "database_url"
    if path.exists() or not address.exists():
        return kept_or_new(path)
    try:
        password = unquote(urlsplit(address.read_text(encoding="utf-8").strip()).password or "")
    except (OSError, ValueError):  # the file holds no text, or no address
        password = ""
    if not password:
        raise SetupProblem(
            f"{address} holds no password of naru: write postgresql://naru:PASSWORD@postgres:5432/naru into it,"
            " with the password that Postgres has, or delete it where Postgres has no volume yet; then run this again."
        )
    return password


def kept_or_new(path: Path) -> str:
    """Return the password in the file, or a new one, which is safe in a URL: letters and digits only."""
    return path.read_text().strip() if path.exists() else secrets.token_hex(24)


def write_given(folder: Path, options: SetupOptions) -> list[str]:
    """Write each secret that the user provides, or an empty file; return the names of the new ones."""
    given = {name: given_value(name, options) for name in GIVEN}
    written = []
    for name, value in given.items():
        path = folder / name
        if path.exists() and path.stat().st_size == 0 and value:
            path.unlink()  # an earlier setup had no value
        if write_once(path, f"{value}\n" if value else "", mode=SECRET_MODE) and value:
            written.append(name)
    return written


def given_value(name: str, options: SetupOptions) -> str:
    """Read a secret from its file, else from the environment; empty if neither has it."""
    path = options.files.get(name) or options.environ.get(f"{name.upper()}_FILE")
    if not path:
        return options.environ.get(name.upper(), "").strip()
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SetupProblem(f"{path} cannot be read: name a text file that holds {name} and nothing else.") from None
    if len(value.split()) != 1:
        raise SetupProblem(f"{path} does not hold {name}: the file must hold one word and nothing else.")
    return value


def write_once(path: Path, text: str, *, mode: int) -> bool:
    """Write the file atomically, unless it exists; return whether it was missing."""
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


def settings_text(options: SetupOptions, *, has_model: bool) -> str:
    """Return the text of .env, which holds no secret."""
    profiles = [*([] if has_model else ["demo"]), *(["certificate"] if options.email else [])]
    addresses = [vendor.address_variable for vendor in WITH_KEY]
    lines = [
        "# Settings of docker-compose.yml, made by ./naru compose setup and yours to change; secrets are in secrets/.",
        "# All others: docs/operations/compose.md",
        "COMPOSE_PROJECT_NAME=naru",
        "# demo: the demo model; certificate: Let's Encrypt; monitoring, logging, backup: docs/operations/",
        f"COMPOSE_PROFILES={','.join(profiles)}",
        "# The images' tag: change it with every version, then ./naru compose roll",
        "NARU_VERSION=1",
        "# The name that people type, and the address that Let's Encrypt writes to",
        f"NARU_DOMAIN={options.domain}",
        f"NARU_EMAIL={options.email}",
        "# Who may use the page: local (people with an account), oidc (company sign-in: docs/operations/people.md),",
        "# local+oidc, or guest with NARU_OPEN_TO_ANYONE=true (anyone)",
        "NARU_AUTH=local",
        "NARU_HTTP_PORT=80",
        "NARU_HTTPS_PORT=443",
        "# Networks of a load balancer in front of nginx, which sets X-Forwarded-For: 10.0.0.0/8,2001:db8::/32",
        "NARU_TRUSTED_PROXIES=",
        "# Containers that every `up` runs",
        "NARU_WEBS=1",
        "NARU_WORKERS=1",
        *(f"{name}={options.environ.get(name, '')}" for name in addresses),
        f"NARU_SIMULATOR_URL={'' if has_model else SIMULATOR}",
    ]
    return "\n".join(lines) + "\n"


def report(options: SetupOptions, *, made: list[str], has_model: bool, is_new: bool) -> list[str]:
    """Return the lines to print."""
    address = f"https://{domain_of(options.folder / '.env') or 'localhost'}/"
    lines = [
        f"secrets/: made {', '.join(made)}" if made else "secrets/: complete; nothing was changed",
        ".env: made" if is_new else ".env: exists; it was not changed",
    ]
    if not has_model:
        key_options = either(f"--{vendor.name}-key FILE" for vendor in WITH_KEY)
        lines.append(f"No key was given: the demo model answers. For a real one run this again with {key_options},")
        lines.append("remove demo from COMPOSE_PROFILES and NARU_SIMULATOR_URL from .env, and bring it up again.")
    if not options.domain and is_new:
        lines.append("No --domain was given: the certificate is self-signed, and browsers warn about it.")
    if not (options.folder / "secrets" / "alert_webhook_url").stat().st_size:
        lines.append(
            "No --alert-webhook was given: the profile monitoring needs one; Alertmanager does not start without it."
        )
    if not (options.folder / "secrets" / "heartbeat_webhook_url").stat().st_size:
        lines.append("No --heartbeat-webhook was given: nobody outside notices when Naru or its monitoring is down:")
        lines.append("docs/operations/alerts.md#watchdog")
    return [
        *lines,
        "",
        "Next:  docker compose up -d          (or: docker-compose up -d)",
        f"Then:  {address}   and {address}flower/ as naru, with the password in secrets/flower_password",
        "      docker compose run --rm backup people invite   prints the link to the first account, an administrator's",
        "Keep a copy of secrets/backup_key away from the backups: without it no backup can be read.",
    ]


def domain_of(settings: Path) -> str:
    """Return NARU_DOMAIN of .env, which may be older than this run."""
    found = re.search(r"^NARU_DOMAIN=(\S*)", settings.read_text(), re.MULTILINE)
    return found[1] if found else ""
