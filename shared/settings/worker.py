"""A worker process: its capacity, port, lease, checkpoints and shutdown."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import LAST_PORT, setting

#: After the grace time a worker hands over its remaining answers and closes within this time. A supervisor
#: must wait longer than both before it kills the worker.
CLOSE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Settings of a worker process."""

    concurrency: int = setting(320, "Answers that one worker process runs at once", least=1)
    worker_metrics_host: str = setting("127.0.0.1", "Address of a worker's /metrics, /healthz and /readyz")
    worker_metrics_port: int = setting(
        0, "Port of a worker's /metrics, /healthz and /readyz; 0: any free port, -1: none", least=-1, most=LAST_PORT
    )

    lease_seconds: float = setting(6.0, "A worker that has not renewed its lease for this long is lost", least=0.2)
    renew_seconds: float = setting(1.5, "How often a worker renews its lease", least=0.05)
    stall_seconds: float = setting(
        3.0, "A worker stops renewing when its event loop has stalled for this long", least=0.1
    )
    checkpoint_seconds: float = setting(
        5.0,
        "How often the text of running answers is written to Postgres; a long text up to six times less often",
        least=0.1,
    )
    degraded_checkpoint_seconds: float = setting(1.0, "How often the text is written while Redis is down", least=0.1)
    broker_silence_seconds: float = setting(
        3.0, "After this long without Redis, workers look for requests in Postgres", least=0.1
    )
    storage_patience_seconds: float = setting(120.0, "How long a finished answer waits for Postgres", least=0.1)
    grace_seconds: float = setting(20.0, "Time that a stopping worker gives its answers to finish", least=0.0)
    wedged_seconds: float = setting(
        60.0, "A worker exits, to be restarted, after /healthz has failed for this long; 0: never", least=0.0
    )
