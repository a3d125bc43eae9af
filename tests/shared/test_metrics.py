"""Tests of metrics: the gauges match Postgres, and names and labels stay within bounds."""

from __future__ import annotations

from uuid import uuid4

from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import delete, insert, update

from shared import fleet, lifecycle, metrics
from shared.keeping import Keeping
from shared.lifecycle import lanes
from shared.metrics import REGISTRY, SystemGauges
from shared.postgres.database import make_engine
from shared.settings import load_settings
from shared.tables import conversation, message
from tests.patience import patient
from tests.shared.rig import RequestRig
from tests.stack import free_port

KEEPING = Keeping(deleted_days=30, conversation_days=0, session_days=90, session_idle_days=14, spending_days=400)


def scraped(rig: RequestRig) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(SystemGauges(rig.engine, KEEPING))
    text = generate_latest(registry).decode()
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_empty_system_is_all_zero(rig: RequestRig) -> None:
    assert scraped(rig) == {
        "naru_requests_queued": 0,
        "naru_requests_running": 0,
        "naru_oldest_queued_seconds": 0,
        "naru_requests_unaccounted": 0,
        "naru_workers": 0,
        "naru_slots": 0,
        "naru_purge_overdue_seconds": 0,
    }


def test_gauges_count_current_rows(rig: RequestRig) -> None:
    alive, draining, dead = rig.worker(slots=3), rig.worker(slots=4), rig.worker(slots=5)
    with rig.begin() as connection:
        fleet.start_draining(connection, draining)
    rig.expire_lease(dead)
    rig.running(worker_id=alive)
    rig.answered()
    fresh, old, later = (rig.ask().request_id for _ in range(3))
    rig.put(old, available_at=rig.ago(40))
    rig.put(later, available_at=rig.ago(-60))
    found = scraped(rig)
    assert 40 <= found.pop("naru_oldest_queued_seconds") < 40 + patient(5), "a request that is not due does not count"
    assert found == {
        "naru_requests_queued": 3,
        "naru_requests_running": 1,
        "naru_requests_unaccounted": 0,
        "naru_workers": 3,  # the third is the worker of `answered`
        "naru_slots": 7,
        "naru_purge_overdue_seconds": 0,
    }
    assert fresh


def test_lane_gauges_count_each_lane(rig: RequestRig) -> None:
    lanes.register(rig.engine, ["openai"], {"openai/slow": 3})
    for model in ("openai/slow", "openai/slow", "openai/fast"):
        rig.ask(model=model)
    rig.serve("demo", room=4)
    rig.running()
    lifecycle.record_failure(
        rig.engine, "openai/fast", code="rate_limited", asks_to_slow_down=False, wait_seconds=0, was_probe=False
    )
    lifecycle.record_failure(
        rig.engine, "openai/slow", code="rate_limited", asks_to_slow_down=True, wait_seconds=9, was_probe=False
    )
    found = {name: value for name, value in scraped(rig).items() if name.startswith("naru_lane_")}
    assert found == {
        'naru_lane_queued{lane="demo"}': 0,
        'naru_lane_queued{lane="openai"}': 1,
        'naru_lane_queued{lane="openai/slow"}': 2,
        'naru_lane_running{lane="demo"}': 1,
        'naru_lane_running{lane="openai"}': 0,
        'naru_lane_running{lane="openai/slow"}': 0,
        'naru_lane_limit{lane="openai/slow"}': 3,
        'naru_lane_breaker_open{lane="demo"}': 0,
        'naru_lane_breaker_open{lane="openai"}': 0,
        'naru_lane_breaker_open{lane="openai/slow"}': 1,
        'naru_lane_workers{lane="demo"}': 1,
        'naru_lane_workers{lane="openai"}': 0,
        'naru_lane_workers{lane="openai/slow"}': 0,
    }


def test_metrics_notice_a_broken_account(rig: RequestRig) -> None:
    """The account is accepted = succeeded + failed + cancelled + queued + running, here broken in both ways."""
    running, ended = rig.running(), rig.answered()
    assert scraped(rig)["naru_requests_unaccounted"] == 0
    with rig.begin() as connection:
        connection.execute(delete(message).where(message.c.request_id == ended))
    assert scraped(rig)["naru_requests_unaccounted"] == 1, "an end without its answer"
    early = {"conversation_id": running.conversation_id, "role": "assistant", "content": "early"}
    with rig.begin() as connection:
        connection.execute(insert(message).values(id=uuid4(), request_id=running.request_id, **early))
    assert scraped(rig)["naru_requests_unaccounted"] == 2, "an answer before the end"


def test_gauge_tells_since_when_a_row_should_be_gone(rig: RequestRig) -> None:
    rig.answered()
    with rig.begin() as connection:
        connection.execute(update(conversation).values(deleted_at=rig.ago(30 * 86_400 + 3600)))
    assert 3600 <= scraped(rig)["naru_purge_overdue_seconds"] < 3600 + patient(5)


def test_metrics_without_postgres_omit_its_gauges() -> None:
    gone = make_engine(load_settings({"DATABASE_URL": f"postgresql://x:y@127.0.0.1:{free_port()}/z"}), name="test")
    assert scraped(RequestRig(gone)) == {}


def test_no_label_is_an_id_an_owner_or_a_text() -> None:
    labels = {label for collector in collectors() for label in getattr(collector, "_labelnames", ())}
    assert labels <= {
        "status",
        "model",
        "asked",
        "direction",
        "outcome",
        "provider",
        "kind",
        "what",
        "code",
        "at",
        "server",
        "limit",
        "reason",
        "result",
    }


def test_metrics_have_documented_names() -> None:
    names = {metric.name for metric in REGISTRY.collect()}
    guide = {"chatbot_requests", "chatbot_response_duration_seconds", "chatbot_active_sessions", "chatbot_tokens_used"}
    assert guide <= names
    assert all(name.startswith(("naru_", "process_")) for name in names - guide)
    assert all(metric.documentation for metric in REGISTRY.collect())


def collectors() -> list[object]:
    return [value for value in vars(metrics).values() if hasattr(value, "_labelnames")]
