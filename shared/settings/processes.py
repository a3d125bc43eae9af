"""Settings that web and worker processes share."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The reconciler and the logs."""

    tick_seconds: float = setting(0.5, "How often each process runs the reconciler", least=0.05)
    stop_patience_seconds: float = setting(
        3.0, "A web process carries out a stop that no worker has answered for this long", least=0.1
    )
    log_level: str = setting("INFO", "DEBUG, INFO, WARNING or ERROR")
