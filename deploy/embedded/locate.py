"""Finds the servers for `ask` and `doctor`: by the environment variables first, then by the data folder of `up`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg2
from psycopg2.extensions import parse_dsn

from deploy.embedded.data import running_on
from shared.errors import SettingsError
from shared.settings import Settings, environment, load_settings, variable_of

PROVIDERS_FILE = variable_of("providers_file")
NOT_FOUND = (
    "Naru is not running here. Start it with ./naru up (in another terminal), name its data folder with --data DIR,\n"
    "      or set DATABASE_URL and REDIS_URL."
)


class NotRunning(Exception):
    """Neither the variables nor a running Naru give the servers' addresses; the message says what to do."""

    def __init__(self) -> None:
        super().__init__(NOT_FOUND)


def check_options(settings: Settings) -> None:
    """Raise SettingsError if an address has an option that libpq does not know. libpq's error may quote secrets."""
    for name in ("database_url", "listen_database_url"):
        try:
            parse_dsn(getattr(settings, name).replace("+psycopg2", "", 1))
        except psycopg2.Error:
            what = "has an option that Postgres does not know. Check the part after the ?"
            raise SettingsError(f"{variable_of(name)} {what}.") from None


def with_providers_file(environ: Mapping[str, str], data: Path) -> dict[str, str]:
    """Return the variables with NARU_PROVIDERS_FILE: as it is, or a providers.toml beside the data folder."""
    named, beside = environ.get(PROVIDERS_FILE), data.parent / "providers.toml"
    if not named and not beside.is_file():
        return dict(environ)
    return {**environ, PROVIDERS_FILE: str(Path(named).resolve() if named else beside)}


def settings_of(data: Path) -> Settings:
    """Return the settings with the addresses of the servers. Raises NotRunning and SettingsError."""
    environ = with_providers_file(environment(), data)
    settings = load_settings(environ)
    check_options(settings)
    if settings.database_url and settings.redis_url:
        return settings
    running = running_on(data)
    if running is None:
        raise NotRunning
    missing = {
        name: url
        for name, url in running.environ.items()
        if not (settings.database_url if name == "DATABASE_URL" else settings.redis_url)
    }
    return load_settings({**environ, **missing})
