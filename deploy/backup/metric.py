"""Metrics for node exporter's textfile collector: a file per command, replaced atomically and readable by others.

A failed run keeps the values of the last success (its time, size and duration) by reading them back from the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.backup.problem import of_disk


@dataclass(frozen=True, slots=True)
class Figures:
    """The metrics of one command. `help` describes each, by its name without the prefix."""

    folder: Path
    prefix: str
    help: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file that the collector reads."""
        return self.folder / f"{self.prefix}.prom"

    def read(self) -> dict[str, float]:
        """Return the values of the last run; empty if there was none or the file is not readable."""
        try:
            lines = [line.split() for line in self.path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
            return {name.removeprefix(f"{self.prefix}_"): float(value) for name, value in lines}
        except (OSError, ValueError):
            return {}

    def noted(self, **values: float) -> None:
        """Store values of a run that is not over yet."""
        self._write({**self.read(), **values})

    def succeeded(self, **values: float) -> None:
        """Record a run that succeeded, now or at the time of success in `values`."""
        now = time.time()
        self._write({"last_success_timestamp_seconds": now, **values, "last_run_timestamp_seconds": now, "failed": 0.0})

    def failed(self) -> None:
        """Record a run that failed; the values of the last success stay."""
        self._write({**self.read(), "last_run_timestamp_seconds": time.time(), "failed": 1.0})

    def _write(self, values: Mapping[str, float]) -> None:
        lines = []
        for name, value in sorted(values.items()):
            full = f"{self.prefix}_{name}"
            lines += [f"# HELP {full} {self.help.get(name, name)}", f"# TYPE {full} gauge", f"{full} {value!r}"]
        new = self.path.with_name(f".{self.prefix}.new")  # the collector reads *.prom only
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            new.write_text("\n".join(lines) + "\n", encoding="utf-8")
            new.chmod(0o644)
            with new.open("rb") as file:
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise of_disk(error, where=self.path) from None


ALWAYS = {
    "last_success_timestamp_seconds": "Time of the last success, in seconds since 1970.",
    "last_run_timestamp_seconds": "Time of the last run, in seconds since 1970.",
    "failed": "1 if the last run failed.",
    "duration_seconds": "Duration of the last successful run.",
    "data_timestamp_seconds": "Time of the data in the backup, in seconds since 1970.",
}


def backup_figures(folder: Path) -> Figures:
    """Return the metrics of `naru backup`."""
    more = {
        "size_bytes": "Size of the newest backup, encrypted.",
        "kept": "Number of good backups kept here.",
        "bucket_data_timestamp_seconds": "Time of the data in the bucket's newest copy, in seconds since 1970.",
    }
    return Figures(folder, "naru_backup", {**ALWAYS, **more})


def drill_figures(folder: Path) -> Figures:
    """Return the metrics of `naru restore-drill`."""
    return Figures(folder, "naru_restore_drill", {**ALWAYS, "rows": "Rows that were restored and counted."})
