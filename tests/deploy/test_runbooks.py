"""Settings that docs/operations tells an operator to put into .env reach the containers that read them."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.embedded.processes import ROOT
from shared.settings import Settings, variable_of
from tests.deploy.reading import yaml

PAGES = ROOT / "docs" / "operations"
#: Named there, but not for .env.
NOT_TURNED = {
    "NARU_BACKUP_DIR": "a path in the container; NARU_BACKUPS says what is mounted there",
    "NARU_BACKUP_METRICS_DIR": "the same, for the volume that node exporter reads",
    "NARU_LISTEN_DATABASE_URL": "for a pooler in front of an external Postgres; compose brings its own",
    "NARU_LIVE_REDIS_URLS": "for more Redis servers of one's own; compose brings one",
    "NARU_PROVIDERS_FILE": "always secrets/providers.toml",
    "NARU_PITR_DIR": "set in the override for point-in-time recovery",
    "NARU_STOP_PATIENCE_SECONDS": "named for how long an erasure waits; compose keeps the default",
    "NARU_SECURE_COOKIES": "always on: people come through nginx and TLS",
}
#: The folders and files of the code that a service runs.
CODE = {
    "web": ("web", "shared"),
    "worker": ("workers", "shared"),
    "backup": ("deploy/backup", "deploy/cli/accounts.py"),
    "restore-drill": ("deploy/backup",),
}
#: Read by code that both services run, but not used by this one.
NOT_USED = {
    ("web", "NARU_CONCURRENCY"),
    *(("worker", f"NARU_{name}") for name in ("AUTH", "OPEN_TO_ANYONE", "SESSION_DAYS", "SESSION_IDLE_DAYS")),
    ("worker", "NARU_ALLOWED_HOSTS"),
    ("worker", "NARU_DOMAIN"),
    ("worker", "NARU_OWNER_ACTIVE_QUESTIONS"),
    ("worker", "NARU_OWNER_QUESTIONS_PER_MINUTE"),
    ("worker", "NARU_QUEUE_QUESTIONS"),
    *(("worker", f"NARU_{name}") for name in ("INVITATION_DAYS", "PASSWORD_LINK_HOURS", "SECOND_FACTOR")),
    *(
        ("worker", f"NARU_SMTP_{name}")
        for name in ("HOST", "PORT", "SECURITY", "USER", "PASSWORD", "SENDER", "SECONDS")
    ),
    ("worker", "NARU_MAX_QUESTION_CHARACTERS"),
    ("worker", "NARU_CONTACT"),
    ("web", "NARU_UNKNOWN_PRICE"),
}
#: Settings that the code reads through a property.
PROPERTIES = {"oidc_allowed_groups": "allowed_groups", "oidc_roles": "roles_of_groups"}
SETTINGS = {variable_of(name): field for name, field in Settings.__dataclass_fields__.items()}


def named() -> set[str]:
    """Return every variable of ours that a page names, without `_FILE`; `NARU_BACKUP_KEEP_*` names several."""
    text = "\n".join(page.read_text() for page in PAGES.glob("*.md"))
    names = re.findall(r"\bNARU_[A-Z0-9_]*[A-Z0-9]\b", text)
    found = {name if name in SETTINGS else name.removesuffix("_FILE") for name in names}
    prefixes = re.findall(r"\b(NARU_[A-Z0-9_]+_)\*", text)
    return found | {name for name in SETTINGS if name.startswith(tuple(prefixes))}


def sources(place: Path) -> list[Path]:
    return [place] if place.is_file() else list(place.rglob("*.py"))


def readers(variable: str) -> set[str]:
    """Return the services whose code reads the setting."""
    name = SETTINGS[variable].name
    read = re.compile(rf"(?:settings|\bs)\.{PROPERTIES.get(name, name)}\b")
    return {
        service
        for service, places in CODE.items()
        if (service, variable) not in NOT_USED
        and any(read.search(path.read_text()) for place in places for path in sources(ROOT / place))
    }


def test_runbook_settings_reach_their_readers() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    given = {name: service.get("environment") or {} for name, service in yaml(text)["services"].items()}
    missing = []
    for variable in sorted(named() - set(NOT_TURNED)):
        if variable not in SETTINGS:  # docker-compose.yml's own variable
            missing += [] if f"${{{variable}" in text else [variable]
            continue
        secret = SETTINGS[variable].metadata["secret"]
        for service in readers(variable):
            value = str(given[service].get(f"{variable}_FILE" if secret else variable, ""))
            if ("/run/secrets/" if secret else f"${{{variable}") not in value:
                missing.append(f"{service}: {variable}")
    assert not missing, "give them to the service, or say in NOT_TURNED why not"


def test_exceptions_list_only_named_settings() -> None:
    assert set(NOT_TURNED) <= named()
    assert all(readers(variable) for variable in named() & set(SETTINGS)), "each setting has a reader"
