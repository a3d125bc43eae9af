"""`python -m workers`: one worker process, Celery's own, with the options that ours needs."""

from __future__ import annotations

import os
import sys
import warnings

from celery.exceptions import SecurityWarning

from shared.errors import NaruError
from shared.interpreter import shorten_switch_interval


def main() -> int:
    """Run until told to stop. Exit code 1 and one sentence when a setting is wrong."""
    try:
        from workers.app import app, settings  # noqa: PLC0415 - importing it reads the settings, which may be wrong

        settings.need("database_url", "redis_url")
    except NaruError as error:
        sys.stderr.write(f"worker: {error}\n")
        return 1
    shorten_switch_interval()
    # Celery warns of root because root may be handed a pickle; we take JSON only. `naru doctor` speaks of root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--concurrency={settings.concurrency}",
            "--pool=threads",
            # Nobody here needs to know its neighbours; both cost a start and a subscription.
            "--without-gossip",
            "--without-mingle",
            # Several on one host: the process id tells them apart in Flower.
            f"--hostname=worker-{os.getpid()}@%h",
            f"--loglevel={settings.log_level}",
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
