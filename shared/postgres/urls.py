"""The spellings of a database URL. Imports neither SQLAlchemy nor the driver, so that the launcher stays small."""

from __future__ import annotations


def driver_url(url: str) -> str:
    """Return the URL for SQLAlchemy with psycopg2; accepts postgres:// and postgresql://."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            return "postgresql+psycopg2://" + url.removeprefix(scheme)
    return url


def libpq_url(url: str) -> str:
    """Return the URL for libpq (`psycopg2.connect`)."""
    return "postgresql://" + driver_url(url).removeprefix("postgresql+psycopg2://")
