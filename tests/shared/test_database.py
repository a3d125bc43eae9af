"""The door to Postgres, where a process has more descriptors than select() can count."""

from __future__ import annotations

import os
import subprocess
import sys

from sqlalchemy import Engine

# A process of its own: in pytest's, a socket that is collected before the connect leaves a low number free.
CROWDED = """
import os, resource
from sqlalchemy import text
from shared.database import make_engine, statement
from shared.settings import load_settings

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
engine = make_engine(load_settings({"DATABASE_URL": os.environ["DATABASE_URL"]}), name="late")
for _ in range(2):
    with statement(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
        print(connection.connection.driver_connection.fileno())
"""


def test_a_connection_with_a_high_descriptor_serves(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", CROWDED],
        env=os.environ | {"DATABASE_URL": url, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    descriptors = [int(line) for line in done.stdout.split()]
    assert len(descriptors) == 2
    assert min(descriptors) > 1023
