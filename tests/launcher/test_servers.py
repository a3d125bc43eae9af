"""`./naru up` rejects unusable servers with one sentence before it starts anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.cli.servers import try_postgres, try_redis
from shared.settings import Settings
from tests.launcher.test_up import Up
from tests.stack import Servers, free_port


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda url, word: url.replace(word, "wrong-one"), "refuses its user or password"),
        (lambda url, _: url.rpartition("/")[0] + "/99999", "no database of this name"),
        (lambda url, _: f"{url.partition(':')[0]}://:secret@127.0.0.1:{free_port()}/0", "nothing listens there"),
    ],
)
def test_each_fault_has_its_own_message(servers: Servers, spoil: Callable[[str, str], str], reason: str) -> None:
    good = Settings(database_url=servers.postgres_server.url, redis_url=servers.redis_server.url)
    bad = replace(
        good,
        database_url=spoil(good.database_url, servers.password),
        redis_url=spoil(good.redis_url, servers.password),
    )
    for variable, before, said in (
        ("DATABASE_URL", try_postgres(good), try_postgres(bad)),
        ("REDIS_URL", try_redis(good.redis_url), try_redis(bad.redis_url)),
    ):
        assert before is None
        assert said is not None
        assert (variable in said, reason in said) == (True, True), said
        assert not [secret for secret in ("secret", "wrong-one", servers.password) if secret in said]


def test_doctor_recognizes_the_wrong_kind_of_server(servers: Servers) -> None:
    crossed = Settings(
        database_url=servers.redis_server.url.replace("redis:", "postgresql:"),
        redis_url=servers.postgres_server.url.replace("postgresql:", "redis:").rpartition("/")[0] + "/0",
    )
    # Depending on its mode, the driver waits for a valid answer from Redis or reports an invalid one.
    assert re.search(
        r"no Postgres server answers there within 3 s|is not a usable Postgres", try_postgres(crossed) or ""
    )
    assert re.search(r"no Redis server|not a usable Redis", try_redis(crossed.redis_url) or "")


def test_up_with_a_bad_database_url_starts_nothing(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    up = Up(tmp_path / "data", "--port", "0", DATABASE_URL=f"postgresql://naru:hidden@{address}/naru")
    assert up.process.wait(20) == 1
    assert up.text.startswith(f"naru: DATABASE_URL ({address}) cannot be used: nothing listens there.")
    assert len(up.text.splitlines()) == 1
    assert "hidden" not in up.text
