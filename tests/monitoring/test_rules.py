"""promtool checks the rules: alerts fire when they should, and only then, and recorded series have the right value."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.reading import compose
from tests.monitoring.cases import CASES, RECORDS, Case, Record, Series
from tests.monitoring.rulebook import MONITORING, Rule, alerts, metrics_in, program, rules
from tests.patience import patient

RECORDED = {rule.name for rule in rules() if rule.kind == "record"}


@pytest.fixture(scope="module")
def promtool() -> str:
    return program("promtool", package="prometheus")


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(argv, capture_output=True, text=True, timeout=patient(60))


@dataclass(frozen=True)
class Story:
    """Series and a question about them. Stories that share none of their `metrics` can run as one test."""

    metrics: frozenset[str]
    files: frozenset[Path]
    interval: str
    series: Series
    question: dict[str, Any]


def behind(name: str) -> list[Rule]:
    """Return the rules of this name and those that record what they read."""
    own = [rule for rule in rules() if rule.name == name]
    read = set().union(*(metrics_in(rule.expression) for rule in own))
    return own + [other for each in read & RECORDED for other in behind(each)]


def story(name: str, told: Case | Record, series: Series, expr: str, samples: Mapping[str, float]) -> Story:
    """Return a story with its question in promtool's format."""
    expected = [{"labels": f"{{{labels}}}", "value": value} for labels, value in samples.items()]
    needed = behind(name)
    read = set().union(*(metrics_in(rule.expression) for rule in needed), (each.partition("{")[0] for each in series))
    question = {"expr": expr, "eval_time": told.at, "exp_samples": expected}
    return Story(frozenset(read), frozenset(rule.file for rule in needed), told.interval, series, question)


def of_case(case: Case) -> Iterator[Story]:
    """Yield the story in which the alert fires, and each calm story in which it does not."""
    firing = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    yield story(case.alert, case, case.fires, firing, {"": case.count})
    for calm in case.calm:
        yield story(case.alert, case, calm, firing, {})


def of_record(record: Record) -> Story:
    """Return the story of a record's value, to six decimal places."""
    rounded = f"round({record.expr} * 1000000) / 1000000"
    return story(record.expr, record, record.series, rounded, record.samples)


def told_together(stories: Iterable[Story]) -> list[dict[str, Any]]:
    """Return few tests for many stories: each costs promtool a database, and an evaluation of the rules per step."""
    groups: list[list[Story]] = []
    for each in stories:
        free = (group for group in groups if not any(each.metrics & other.metrics for other in group))
        group = next(free, None)
        if group is None:
            groups.append([each])
        else:
            group.append(each)
    return [
        {
            "interval": group[0].interval,
            "input_series": [
                {"series": name, "values": values} for each in group for name, values in each.series.items()
            ],
            "promql_expr_test": [each.question for each in group],
        }
        for group in groups
    ]


def test_rules_give_the_expected_results(promtool: str, tmp_path: Path) -> None:
    stories = [each for case in CASES for each in of_case(case)] + [of_record(record) for record in RECORDS]
    kinds: dict[tuple[str, frozenset[Path]], list[Story]] = {}
    for each in stories:
        kinds.setdefault((each.interval, each.files), []).append(each)
    paths = []
    for number, ((interval, files), alike) in enumerate(kinds.items()):
        told = {"rule_files": sorted(map(str, files)), "evaluation_interval": interval, "tests": told_together(alike)}
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(told))
    done = run(promtool, "test", "rules", *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_all_have_a_case() -> None:
    tried = {case.alert for case in CASES} | {record.expr for record in RECORDS}
    assert {rule.name for rule in rules()} == tried
    calm = {case.alert for case in CASES if case.calm}
    assert {case.alert for case in CASES} - calm == {"Watchdog"}, "all but the one that always fires have a calm case"


def test_prometheus_accepts_its_files(promtool: str) -> None:
    done = run(promtool, "check", "config", "--lint=all", "--lint-fatal", str(MONITORING / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = sum(map(int, re.findall(r"SUCCESS: (\d+) rules found", done.stdout)))
    assert found == len(rules()), "rulebook.py and Prometheus read the same rules"


ADDRESSES = ("alert_webhook_url", "heartbeat_webhook_url")


def started(folder: Path, *, heartbeat: str) -> Path:
    """Make Alertmanager's file with its container's command, less `url_file`, which Debian's version lacks."""
    (folder / "heartbeat_webhook_url").write_text(heartbeat)
    service = compose()["services"]["alertmanager"]
    shell, option, script, *rest = service["entrypoint"]
    path = folder / "alertmanager.yml"
    for theirs, ours in {
        "/run/secrets": folder,
        "/etc/alertmanager/alertmanager.yml": MONITORING / "alertmanager.yml",
        "/tmp/alertmanager.yml": path,
        "/bin/alertmanager": "echo",
    }.items():
        assert theirs in script
        script = script.replace(theirs, str(ours))
    done = run(shell, option, script, *rest, *service["command"])
    assert done.stdout.startswith("--config.file=/tmp/alertmanager.yml --storage"), done.stderr
    text = path.read_text()
    for name in ADDRESSES:
        assert f"url_file: /run/secrets/{name}" in text
        text = text.replace(f"url_file: /run/secrets/{name}", "url: http://127.0.0.1:1/")
    path.write_text(text)
    return path


@pytest.mark.parametrize(("heartbeat", "receiver"), [("http://127.0.0.1:1/\n", "heartbeat"), ("", "nowhere")])
def test_alertmanager_routes_each_alert(tmp_path: Path, heartbeat: str, receiver: str) -> None:
    amtool = program("amtool", package="prometheus-alertmanager")
    path = str(started(tmp_path, heartbeat=heartbeat))
    done = run(amtool, "check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"inhibit rules", done.stdout)
    for rule in alerts():
        labels = (f"alertname={rule.name}", f"severity={rule.said('severity')}")
        expected = receiver if rule.name == "Watchdog" else "webhook"
        options = (f"--config.file={path}", f"--verify.receivers={expected}")
        told = run(amtool, "config", "routes", "test", *options, *labels)
        assert told.returncode == 0, f"{rule.name}: {told.stdout}{told.stderr}"
