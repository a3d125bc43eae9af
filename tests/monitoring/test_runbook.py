"""Alerts match the runbook, and rules and boards match the metrics: nothing is missing on either side."""

from __future__ import annotations

import re

from shared import metrics
from tests.house.tables import declared_metrics
from tests.monitoring import exporters
from tests.monitoring.rulebook import MONITORING, RUNBOOK, alerts, boards, metrics_in, questions, rules


def sections() -> dict[str, str]:
    """Return the runbook's sections about an alert, by its name."""
    parts = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    named = {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}
    return {name: text for name, text in named.items() if " " not in name}


def ours() -> set[str]:
    """Return every series that our processes export or the rules record."""
    names = {name for name, _ in (*metrics._SYSTEM_GAUGES.values(), *metrics._LANE_GAUGES.values())}
    for metric in declared_metrics():
        described = next(iter(metric.describe()))
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(described.type, [""])
        names |= {described.name + suffix for suffix in suffixes}
    return names | {rule.name for rule in rules() if rule.kind == "record"}


def test_alerts_and_runbook_sections_match() -> None:
    names = [rule.name for rule in alerts()]
    assert len(names) == len(set(names))
    assert set(names) == set(sections())


def test_each_alert_has_a_severity_and_a_runbook_section() -> None:
    for rule in alerts():
        severity = rule.said("severity")
        assert severity in ({"heartbeat"} if rule.name == "Watchdog" else {"page", "ticket"}), rule.name
        assert rule.said("runbook") == f"docs/operations/alerts.md#{rule.name.lower()}"
        assert rule.said("summary"), rule.name
        assert sections()[rule.name].strip().startswith(f"**{severity}.**"), rule.name


def test_each_section_says_what_to_do() -> None:
    for name, text in sections().items():
        assert re.search(r"\*Look\*|\*Look:\*", text), name
        assert re.search(r"\*[Dd]o\*|\*Do:\*", text), name


def test_queried_metrics_exist() -> None:
    known = ours() | exporters.ALL
    asked = [(rule.name, rule.expression) for rule in rules()] + questions()
    unknown = {where: missing for where, expression in asked if (missing := metrics_in(expression) - known)}
    assert not unknown


def test_rules_and_boards_use_every_listed_exporter_metric() -> None:
    asked = set().union(
        *(metrics_in(rule.expression) for rule in rules()), *(metrics_in(each) for _, each in questions())
    )
    assert not exporters.ALL - asked


def test_metrics_in_finds_exactly_the_series() -> None:
    expression = (
        'sum by (le) (rate(a_bucket{b="c(d)"}[5m])) > on() group_left() 2 * max(e:f) unless absent(g) or time() - 3e2'
    )
    assert metrics_in(expression) == {"a_bucket", "e:f", "g"}


def test_inhibitions_name_existing_alerts() -> None:
    names = {rule.name for rule in alerts()}
    text = (MONITORING / "alertmanager.yml").read_text()
    patterns = [each for found in re.findall(r'alertname=~?"([^"]+)"', text) for each in found.split("|")]
    assert patterns
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in names), pattern


def test_boards_match_their_provisioning() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    source = re.findall(r"uid: (\S+)", (provisioning / "datasources/naru.yml").read_text())
    assert {name: board["uid"] for name, board in boards().items()} == {
        name: f"naru-{name}" for name in ("models", "queues", "slo", "workers")
    }
    for name, board in boards().items():
        panels = board["panels"]
        assert isinstance(panels, list)
        assert len({panel["id"] for panel in panels}) == len(panels), name
        used = {each["datasource"]["uid"] for panel in panels for each in (panel, *panel["targets"])}
        assert used <= set(source), name
