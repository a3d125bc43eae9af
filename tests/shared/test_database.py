"""The door to Postgres, where a process has more descriptors than select() can count."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from shared.database import make_engine, statement
from shared.settings import load_settings

MANY = 1100


@pytest.fixture
def crowded() -> Iterator[None]:
    """A process as one with hundreds of streams: every low descriptor is taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(MANY)]
    yield
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("crowded")
def test_a_connection_with_a_high_descriptor_serves(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    late = make_engine(load_settings({"DATABASE_URL": url}), name="late")
    try:
        for _ in range(2):
            with statement(late) as connection:
                assert connection.execute(text("SELECT 1")).scalar_one() == 1
                raw = connection.connection.driver_connection
                assert raw is not None
                assert raw.fileno() > 1023
    finally:
        late.dispose()
