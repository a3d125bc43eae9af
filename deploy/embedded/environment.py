"""The environment of each program that `up` and `backup` start: the variables that it reads, and no others.

Anyone who reads a process's memory, its /proc/PID/environ or its crash report sees its environment. Therefore only
workers get a vendor's key, and only web gets the key that signs cookies.

Web and workers read each setting that READERS does not name; none of those is secret. `docker-compose.yml` follows the
same table (tests/deploy/test_compose.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Literal

from shared.settings import LOCAL_OIDC, OIDC, Settings, variable_of
from shared.vendors import VENDORS

#: `servers` tries the servers that the user names; `dump` and `cipher` are pg_dump, pg_restore and openssl.
Part = Literal[
    "web", "worker", "flower", "simulator", "migrate", "postgres", "redis", "servers", "dump", "cipher", "launcher"
]

#: The readers of each setting that is not read by exactly web and workers. `launcher` is the command that the user
#: types.
READERS: Mapping[str, frozenset[Part]] = {
    "database_url": frozenset({"web", "worker", "migrate", "servers"}),
    "listen_database_url": frozenset({"web", "worker", "migrate", "servers"}),
    "redis_url": frozenset({"web", "worker", "flower", "servers"}),
    "live_redis_urls": frozenset({"web", "worker", "servers"}),
    "secret_key": frozenset({"web"}),
    "personal_data": frozenset({"web"}),
    "auth": frozenset({"web", "launcher"}),
    **dict.fromkeys(("open_to_anyone", "sign_up", "sign_in_failures"), frozenset({"web"})),
    **dict.fromkeys(("session_idle_days", "session_days", "debug_panel"), frozenset({"web"})),
    "oidc_issuer": frozenset({"web", "launcher"}),
    **dict.fromkeys(("oidc_client_id", "oidc_client_secret", "oidc_scopes"), frozenset({"web"})),
    **dict.fromkeys(("oidc_allowed_groups", "oidc_roles", "oidc_groups_claim"), frozenset({"web"})),
    **dict.fromkeys(("oidc_button", "oidc_clock_skew_seconds", "oidc_seconds"), frozenset({"web"})),
    **dict.fromkeys(("keep_audit_days", "audit_log"), frozenset({"web"})),
    **dict.fromkeys(("invitation_days", "password_link_hours"), frozenset({"web", "launcher"})),
    **dict.fromkeys(("second_factor", "guest_link_days"), frozenset({"web"})),
    **dict.fromkeys(
        ("smtp_host", "smtp_port", "smtp_security", "smtp_user", "smtp_password", "smtp_sender", "smtp_seconds"),
        frozenset({"web", "launcher"}),
    ),
    **dict.fromkeys(
        ("tokens_per_day", "tokens_per_month", "money_per_month", "currency", "time_zone"),
        frozenset({"web", "worker", "launcher"}),
    ),
    "unknown_price": frozenset({"worker"}),
    "contact": frozenset({"web"}),
    **{name: frozenset({"worker"}) for vendor in VENDORS for name in vendor.settings},
    "providers_file": frozenset({"worker", "launcher"}),
    "models": frozenset({"worker"}),
    "lanes": frozenset({"worker"}),
    "prices": frozenset({"worker"}),
    "fallback": frozenset({"worker"}),
    "answer_cache_seconds": frozenset({"worker"}),
    "system_prompt": frozenset({"worker"}),
    "host": frozenset({"web", "flower"}),
    "domain": frozenset({"web", "flower", "launcher"}),
    "allowed_hosts": frozenset({"web", "flower"}),
    "log_level": frozenset({"web", "worker", "flower", "migrate"}),
}
OTHERS: frozenset[Part] = frozenset({"web", "worker"})
BACKUP = "backup_"

#: For every part: programs, folders, time zone, language, certificates, libraries, the interpreter and its memory.
SYSTEM = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP", "TZ", "TZDIR", "LANG", "LANGUAGE"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH"),
    }
)
SYSTEM_PREFIXES = ("LC_", "PYTHON", "MALLOC_")
#: The variables of libpq, and of Kerberos, which libpq uses.
LIBPQ = ("PG*", "KRB5*")
SDK_VARIABLES = tuple(f"{vendor.variables_begin}*" for vendor in VENDORS if vendor.sdk)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
ANY_PROXY = (*PROXIES, *map(str.lower, PROXIES))
#: Further variables, which are not Naru's settings. A `*` matches any ending.
MORE: Mapping[Part, tuple[str, ...]] = {
    "web": (*LIBPQ, "FORWARDED_ALLOW_IPS"),  # uvicorn reads it
    # A proxy's address may hold a password, so only those who use the internet get it. The SDKs read more variables.
    "worker": (*LIBPQ, *ANY_PROXY, "NETRC", *SDK_VARIABLES),
    "flower": ("FLOWER_*",),
    "migrate": LIBPQ,
    # archive_command runs deploy/backup/pitr/archive.sh. It gets the path of the key, not the key.
    "postgres": ("NARU_PITR_*", "NARU_BACKUP_KEY_FILE"),
    "servers": LIBPQ,
    "dump": LIBPQ,
    "cipher": ("OPENSSL_*",),
}


def readers_of(setting: str) -> frozenset[Part]:
    """Return the parts that read a setting, given by its name."""
    if setting.startswith(BACKUP):
        return frozenset({"launcher"})
    return READERS.get(setting, OTHERS)


def environment_of(part: Part, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `environ` that a part may see. A setting may also be given as `X_FILE`."""
    settings = {variable_of(each.name) for each in fields(Settings) if part in readers_of(each.name)}
    names = SYSTEM | settings | {f"{name}_FILE" for name in settings} | set(MORE.get(part, ()))
    if part == "web" and environ.get(variable_of("auth")) in (OIDC, LOCAL_OIDC):
        names |= set(ANY_PROXY)  # the company's sign-in service may be behind it
    if part == "worker" and (providers := environ.get(variable_of("providers_file"))):
        # The image for backups starts no worker, and has none of their modules.
        from workers.providers.file import key_variables  # noqa: PLC0415

        names |= key_variables(Path(providers))
    prefixes = (*SYSTEM_PREFIXES, *(name[:-1] for name in MORE.get(part, ()) if name.endswith("*")))
    return {name: value for name, value in environ.items() if name in names or name.startswith(prefixes)}
