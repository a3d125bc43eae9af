"""Tables in the docs that follow from the code: `python -m tests.house.tables settings|metrics` prints one to paste.

test_papers.py compares them with the docs.
"""

from __future__ import annotations

import sys
from dataclasses import fields

from prometheus_client.metrics import MetricWrapperBase

from shared import metrics
from shared.settings import Settings, variable_of


def settings_table() -> str:
    """Return the variable, default and meaning of every setting, as Markdown."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    # A dataclass lists the fields of its last base first; readers look for the servers and keys first.
    for each in (each for group in Settings.__bases__ for each in fields(group)):
        default = (
            ""
            if each.default == ""
            else f"`{each.default:g}`"
            if isinstance(each.default, float)
            else f"`{each.default}`"
        )
        rows.append(f"| `{variable_of(each.name)}` | {default} | {each.metadata['doc']} |")
    return "\n".join(rows)


def metrics_table() -> str:
    """Return the name, kind, labels and meaning of every metric, as Markdown."""
    rows = ["| metric | kind | labels | what it says |", "|---|---|---|---|"]
    for metric in declared_metrics():
        described = next(iter(metric.describe()))
        suffix = "_total" if described.type == "counter" else ""
        labels = ", ".join(f"`{name}`" for name in metric._labelnames)
        rows.append(f"| `{described.name}{suffix}` | {described.type} | {labels} | {described.documentation} |")
    for name, meaning in metrics._SYSTEM_GAUGES.values():
        rows.append(f"| `{name}` | gauge of the whole system |  | {meaning} |")
    for name, meaning in metrics._LANE_GAUGES.values():
        rows.append(f"| `{name}` | gauge of the whole system | `lane` | {meaning} |")
    return "\n".join(rows)


def declared_metrics() -> list[MetricWrapperBase]:
    """Return every metric of shared/metrics.py, in its order."""
    return [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]


if __name__ == "__main__":
    print({"settings": settings_table, "metrics": metrics_table}[sys.argv[1]]())
