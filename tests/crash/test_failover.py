"""Servers that are replaced by another under load: a promoted standby of Postgres, and a failover by Sentinels.

Accepted questions are answered once, in their first attempt. The times until acceptance are printed, not asserted.
"""

from __future__ import annotations

import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from deploy.embedded import processes
from shared.postgres.database import make_engine
from shared.tables import Status
from tests.crash.person import Person
from tests.crash.switching import WORDS, Asking
from tests.patience import slowness
from tests.replication import Standby
from tests.sentinels import running_sentinels
from tests.stack import Stack, get, wait_until

#: The product's own lease, on a machine of our speed.
LEASE = {"lease_seconds": 6 * slowness(), "renew_seconds": 1.5, "stall_seconds": 3 * slowness(), "tick_seconds": 0.5}
AROUND_SECONDS = 4


@pytest.mark.parametrize("primary", ["killed", "frozen"])
def test_promoted_standby_takes_over_under_load(own_stack: Stack, primary: str) -> None:
    """A frozen primary keeps its connections, and the kernel accepts new ones that nobody answers."""
    servers = own_stack.servers
    with closing(Standby(servers)) as standby:
        own_stack.configure(database_url=standby.url, **LEASE)
        own_stack.database_url = standby.url
        own_stack.start_simulator()
        own_stack.start_worker(), own_stack.start_worker()
        web = own_stack.start_web()
        engine = make_engine(own_stack.settings, name="person")
        with Person(own_stack, engine) as person:
            with Asking(person) as asking:
                time.sleep(AROUND_SECONDS)
                if primary == "frozen":
                    servers.postgres.freeze()
                else:
                    processes.send(servers.postgres.pid, signal.SIGQUIT)
                    servers.postgres.wait()
                standby.promote()
                time.sleep(AROUND_SECONDS)
            asking.check()
            print(asking.slowest)
            assert person.wait_end(person.ask(WORDS)).status == Status.SUCCEEDED
        wait_until(lambda: get(web.url + "/readyz")[0] == 200, what="web is ready")
        engine.dispose()
        own_stack.close()
        if primary == "frozen":
            servers.postgres.thaw()


def test_sentinels_fail_over_under_load(stack: Stack, tmp_path: Path) -> None:
    with running_sentinels(tmp_path / "sentinels") as watched:
        stack.configure(redis_url=watched.url, **LEASE)
        stack.start_simulator()
        workers = [stack.start_worker(), stack.start_worker()]
        web = stack.start_web()
        engine = make_engine(stack.settings, name="person")
        with Person(stack, engine) as person:
            with Asking(person) as asking:
                time.sleep(AROUND_SECONDS)
                watched.primary.kill()
                watched.wait_for_failover()
                time.sleep(AROUND_SECONDS)
            asking.check()
            print(asking.slowest)
            assert asking.refusals == 0, "nobody waits for Redis"

            def hint_arrives() -> bool:
                row = person.wait_end(person.ask(WORDS))
                return row.status == Status.SUCCEEDED and person.dispatcher.healthy

            wait_until(hint_arrives, seconds=60, what="hints go to the new primary")
            with watched.client(1) as new_primary:
                wait_until(lambda: new_primary.keys("naru:*"), seconds=60, what="text goes to the new primary")
        assert all(each.running for each in workers)
        wait_until(lambda: get(web.url + "/readyz")[0] == 200, what="web is ready")
        engine.dispose()
        stack.close()
