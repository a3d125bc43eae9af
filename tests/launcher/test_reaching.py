"""Tests of what `doctor` says about the way to the servers."""

from __future__ import annotations

import dataclasses

import pytest

from deploy.cli.findings import Level
from deploy.cli.reaching import host_names, postgres_hosts
from shared.postgres.urls import hosts_of
from shared.settings import Settings
from tests.stack import free_port


def test_doctor_names_the_primary_and_a_dead_host(settings: Settings) -> None:
    own, dead = hosts_of(settings.database_url), f"127.0.0.1:{free_port()}"
    assert not list(postgres_hosts(settings)), "one host needs no finding"
    url = settings.database_url.replace(own, f"{dead},{own}") + "?target_session_attrs=read-write"
    there, here = postgres_hosts(dataclasses.replace(settings, database_url=url))
    assert there.level is Level.HINT
    assert there.what.startswith(f"postgres: {dead} does not answer (")
    assert (here.level, here.what) == (Level.GOOD, f"postgres: {own} is the primary")


def test_doctor_reports_two_primaries(settings: Settings) -> None:
    own = hosts_of(settings.database_url)
    url = settings.database_url.replace(own, f"{own},{own}") + "?target_session_attrs=read-write"
    *_, last = postgres_hosts(dataclasses.replace(settings, database_url=url))
    assert (last.level, last.what) == (Level.WRONG, f"postgres: {own} and {own} all accept writes")


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("postgresql://u:p@[::1]:5432,db2/d?connect_timeout=1", {"::1", "db2"}),
        ("postgresql://127.0.0.1/d?host=db1,db2&port=1", {"db1", "db2"}),
        ("postgresql://db1/d?hostaddr=127.0.0.1", {"127.0.0.1"}),
        ("postgresql:///d?host=/run/postgresql", {"127.0.0.1"}),
        ("postgresql:///d", {"127.0.0.1"}),
        ("postgresql://127.0.0.1:1,127.0.0.1:2/d", {"127.0.0.1"}),
    ],
)
def test_host_names_come_without_ports(url: str, names: set[str]) -> None:
    assert host_names(url) == names
