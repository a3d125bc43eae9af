"""Runs the expressions of every panel on a live Prometheus that scrapes the real processes.

Web, worker and Flower are the product's; the node, Postgres and Redis exporters are Debian's. cAdvisor, the site probe
and an Alertmanager that delivers are missing here: their expressions are parsed and evaluated, and find nothing.
"""

from __future__ import annotations

from math import isnan
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.conftest import STRICT
from tests.crash.person import Person
from tests.monitoring import exporters
from tests.monitoring.rulebook import metrics_in, program, questions, rules
from tests.monitoring.watching import EXPORTERS, Watching
from tests.stack import Stack, free_port, get, wait_until

#: Metrics that no Debian program exports here.
ELSEWHERE = exporters.CADVISOR | exporters.BLACKBOX | exporters.ALERTMANAGER
OF_EXPORTER = {
    "node": exporters.NODE | exporters.TEXT_FILES,
    "postgres": exporters.POSTGRES,
    "redis": exporters.REDIS,
}


@pytest.fixture
def watching(stack: Stack) -> Watching:
    """Return a stack's monitoring once Prometheus has scraped every target."""
    prometheus = program("prometheus", package="prometheus")
    made = Watching(stack, prometheus)
    stack.configure(worker_metrics_port=free_port(), lanes="demo=16")
    stack.start_simulator()
    made.start_exporters()
    made.start_flower()
    made.targets["worker"] = f"127.0.0.1:{stack.settings.worker_metrics_port}"
    stack.start_worker(ready=False)
    made.targets["web"] = stack.start_web(ready=False).url.removeprefix("http://")
    made.start_prometheus()
    wait_until(lambda: len(made.ask("up == 1")) == len(made.targets), seconds=40, what="everything is scraped")
    return made


def has_data(samples: list[dict[str, Any]]) -> bool:
    """Return whether a panel would show a number."""
    return any(not isnan(float(sample["value"][1])) for sample in samples)


def live_a_little(stack: Stack, engine: Engine, web: str) -> None:
    """Load the page, and ask questions: two are answered, one is stopped, and one fails at the vendor."""
    get(web)
    with Person(stack, engine) as person:
        stopped = person.ask("[[sim: tokens=2000 pace=50]]")
        person.wait_text(stopped)
        person.stop(stopped)
        asked = [person.ask(words) for words in ("[[sim: tokens=3]]", "[[sim: tokens=5]]", "[[sim: fault=400]]")]
        for each in [stopped, *asked]:
            person.wait_end(each)


#: The totals after `live_a_little`.
COUNTED = {
    'sum(naru_claims_total{provider="demo"})': 4,
    'sum(chatbot_requests_total{status="succeeded"})': 2,
    'sum(chatbot_requests_total{status="cancelled"})': 1,
    'sum(naru_failed_total{code="bad_request"})': 1,
    "sum(naru_failed_total)": 1,
    "sum(naru_first_word_seconds_count)": 3,
    'sum(naru_browser_cookies_total{at="page"})': 0,  # no browser loads the page here, and nothing asks for HTML
}


def test_every_panel_of_every_board_has_data(watching: Watching, stack: Stack, engine: Engine) -> None:
    live_a_little(stack, engine, f"http://{watching.targets['web']}")
    missing = {name for job, names in OF_EXPORTER.items() if job not in watching.targets for name in names}
    if STRICT:
        assert not missing, f"exporters are missing: apt install {' '.join(EXPORTERS.values())}"
    to_be_had = [each for each in questions() if not metrics_in(each[1]) & (ELSEWHERE | missing)]
    assert len(to_be_had) > 0.8 * len(questions()) or missing

    def silent() -> list[tuple[str, str]]:
        return [each for each in to_be_had if not has_data(watching.ask(each[1]))]

    try:
        wait_until(lambda: not silent(), seconds=15)
    except AssertionError:
        pytest.fail(f"panels without data: {silent()}")
    counted = {each: float(watching.ask(each)[0]["value"][1]) for each in COUNTED}
    assert counted == COUNTED
    for name, expression in questions():
        watching.ask(expression)  # AssertionError for what Prometheus cannot read
        assert "$" not in expression.replace("$__rate_interval", "").replace("$1", ""), name
    evaluated = watching.rules()
    assert len(evaluated) == len(rules())
    assert [rule["name"] for rule in evaluated if rule["health"] != "ok"] == []
    for rule in rules():
        for metric in metrics_in(rule.expression) - ELSEWHERE - missing - exporters.PROMETHEUS - SELDOM:
            assert watching.ask(metric), f"{rule.name}: no {metric}"


#: Missing here, because the test's Redis has no append-only file.
SELDOM = {"redis_aof_last_write_status", "redis_aof_last_bgrewrite_status"}
