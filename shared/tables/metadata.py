"""The metadata of all tables, and their timestamp column."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData, func

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def moment(name: str, *, now: bool = False) -> Column[object]:
    """Return a column for a time; with `now` it is not null and defaults to Postgres's clock."""
    return Column(
        name, DateTime(timezone=True), nullable=not now, server_default=func.clock_timestamp() if now else None
    )
