"""`python -m workers`: runs one Celery worker with the options that Naru needs."""

from __future__ import annotations

import os
import sys
import warnings

from celery.exceptions import SecurityWarning

from shared.errors import NaruError
from shared.interpreter import shorten_switch_interval
from shared.live.shards import refuse_twins


def main() -> int:
    """Run until a signal stops it. Print one sentence to stderr and return 1 if a setting is wrong."""
    try:
        from workers.app import app, settings  # noqa: PLC0415 - importing it reads the settings, which may be wrong

        settings.need("database_url", "redis_url")
        refuse_twins(settings)
    except NaruError as error:
        sys.stderr.write(f"worker: {error}\n")
        return 1
    shorten_switch_interval()
    # Celery warns about pickled messages when it runs as root, but Naru accepts JSON only.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--concurrency={settings.concurrency}",
            "--pool=threads",
            # Naru's workers need not know each other; both options cost time at the start and a subscription.
            "--without-gossip",
            "--without-mingle",
            # The process id tells several workers on one host apart in Flower.
            f"--hostname=worker-{os.getpid()}@%h",
            f"--loglevel={settings.log_level}",
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
