"""When each alert fires and when it does not: series in promtool's notation, a value a minute (`start+step x times`).

Data only, with a few helpers that keep it short; test_rules.py passes it to promtool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Series = Mapping[str, str]
#: Half an hour by the minute, and ten days by the hour.
FLAT, GROWS = "{}+0x30", "0+{}x30"
DAYS = "{}+0x260"


@dataclass(frozen=True)
class Case:
    """An alert: series that fire it `count` times at `at`, and similar series that do not."""

    alert: str
    fires: Series
    calm: tuple[Series, ...]
    at: str = "10m"
    #: The time between samples; cases over days use hours.
    interval: str = "1m"
    count: int = 1


@dataclass(frozen=True)
class Record:
    """A recorded series and its value, or values by label."""

    expr: str
    series: Series
    samples: Mapping[str, float]
    at: str = "10m"
    interval: str = "1m"


def flat(value: float) -> str:
    """Return a constant series."""
    return FLAT.format(f"{value:g}")


def grows(step: float) -> str:
    """Return a series that grows by `step` a minute."""
    return GROWS.format(f"{step:g}")


QUEUE = (
    Case("OldestQueued", {"naru_oldest_queued_seconds": flat(11)}, ({"naru_oldest_queued_seconds": flat(9)},)),
    Case("OldestQueuedLong", {"naru_oldest_queued_seconds": flat(61)}, ({"naru_oldest_queued_seconds": flat(59)},)),
    Case(
        "QueueStalled",
        {
            "naru_requests_queued": flat(3),
            "naru_oldest_queued_seconds": flat(3),
            'naru_claims_total{provider="openai"}': flat(7),
        },
        (
            {
                "naru_requests_queued": flat(3),
                "naru_oldest_queued_seconds": flat(3),
                'naru_claims_total{provider="openai"}': grows(2),
            },
            # A vendor asked us to wait: queued, but not due.
            {"naru_requests_queued": flat(3), "naru_oldest_queued_seconds": flat(0)},
            {"naru_requests_queued": flat(0), "naru_oldest_queued_seconds": flat(0)},
        ),
    ),
    # It also fires if no worker is left to export the claims counter.
    Case("QueueStalled", {"naru_requests_queued": flat(1), "naru_oldest_queued_seconds": flat(1)}, ()),
    Case("NoWorker", {"naru_workers": flat(0)}, ({"naru_workers": flat(1)},)),
    Case(
        "SlotsNearlyTaken",
        {"naru_requests_running": flat(91), "naru_slots": flat(100)},
        (
            {"naru_requests_running": flat(89), "naru_slots": flat(100)},
            {"naru_requests_running": flat(0), "naru_slots": flat(0)},
        ),
        at="15m",
    ),
    Case(
        "LaneUnserved",
        {'naru_lane_queued{lane="openai"}': flat(2), 'naru_lane_workers{lane="openai"}': flat(0)},
        (
            {'naru_lane_queued{lane="openai"}': flat(2), 'naru_lane_workers{lane="openai"}': flat(1)},
            {'naru_lane_queued{lane="openai"}': flat(0), 'naru_lane_workers{lane="openai"}': flat(0)},
            # A lane that waits, and another one that nobody serves.
            {
                'naru_lane_queued{lane="openai"}': flat(2),
                'naru_lane_workers{lane="openai"}': flat(1),
                'naru_lane_workers{lane="openai/o3"}': flat(0),
            },
        ),
    ),
    Case(
        "WorkersAreLost",
        {'naru_expired_leases_total{instance="a"}': grows(0.1), 'naru_expired_leases_total{instance="b"}': grows(0.1)},
        ({'naru_expired_leases_total{instance="a"}': "0+0x15 1+0x15"},),
        at="30m",
    ),
    Case(
        "WorkersStartAgain",
        {'process_start_time_seconds{job="worker",instance="a"}': "100+0x5 200+0x5 300+0x5 400+0x15"},
        (
            {'process_start_time_seconds{job="worker",instance="a"}': "100+0x5 200+0x25"},
            {'process_start_time_seconds{job="web",instance="a"}': "100+0x5 200+0x5 300+0x5 400+0x15"},
        ),
        at="25m",
    ),
    Case("RequestsUnaccounted", {"naru_requests_unaccounted": flat(1)}, ({"naru_requests_unaccounted": flat(0)},)),
    Case(
        "ReconcilerStands",
        {"naru_reconciler_tick_seconds_count": flat(900)},
        ({"naru_reconciler_tick_seconds_count": grows(120)},),
    ),
    Case("ReconcilerStands", {}, ()),
    Case(
        "SystemGaugesMissing",
        {"naru_broker_away": flat(0)},
        ({"naru_requests_queued": flat(0), "naru_workers": flat(0)},),
    ),
    Case(
        "PurgeBehind",
        {'naru_purge_overdue_seconds{instance="a"}': "82800+3600x40"},
        (
            {'naru_purge_overdue_seconds{instance="a"}': DAYS.format(82800)},
            {'naru_purge_overdue_seconds{instance="a"}': "9000000-9000000x1 0+0x30"},  # it catches up within the hour
        ),
        at="4h",
        interval="1h",
    ),
    Case("BrokerAway", {"naru_broker_away": flat(1)}, ({"naru_broker_away": flat(0)},)),
    Case(
        "LiveRedisAway",
        {'naru_live_redis_away{server="b:6379"}': flat(1), 'naru_live_redis_away{server="a:6379"}': flat(0)},
        ({'naru_live_redis_away{server="a:6379"}': flat(0)},),
    ),
    Case(
        "IdentityBroken",
        {
            'naru_browser_cookies_total{at="page",what="refused"}': grows(2),
            'naru_browser_cookies_total{at="socket",what="good"}': grows(2),
        },
        (
            {  # a forged one now and then
                'naru_browser_cookies_total{at="page",what="refused"}': grows(1),
                'naru_browser_cookies_total{at="page",what="good"}': grows(20),
            },
            {  # few, though half of all
                'naru_browser_cookies_total{at="page",what="refused"}': grows(0.2),
                'naru_browser_cookies_total{at="page",what="good"}': grows(0.2),
            },
            {'naru_browser_cookies_total{at="page",what="new"}': grows(30)},
        ),
        at="20m",
    ),
    Case("AuditBroken", {"naru_audit_broken": flat(1)}, ({"naru_audit_broken": flat(0)},)),
    Case("AuditUnsent", {"naru_audit_unsent": flat(3)}, ({"naru_audit_unsent": flat(0)},), at="20m"),
    Case("IdentityBroken", {'naru_browser_cookies_total{at="socket",what="missing"}': grows(3)}, (), at="20m"),
    Case(
        "LimitRefuses",
        {
            'naru_over_limit_total{limit="address_too_fast"}': grows(15),
            'naru_over_limit_total{limit="streams_per_owner"}': grows(4),
        },
        ({'naru_over_limit_total{limit="streams_per_owner"}': grows(4)},),
        at="20m",
    ),
)


def errors(kind: str, step: float, *, claims: float) -> Series:
    """Return a provider's errors and calls."""
    return {
        f'naru_provider_errors_total{{provider="openai",kind="{kind}"}}': grows(step),
        'naru_claims_total{provider="openai"}': grows(claims),
    }


PROVIDERS = (
    Case(
        "ProviderFails",
        errors("server_failed", 3, claims=20),
        (
            errors("server_failed", 1, claims=20),
            errors("server_failed", 0.5, claims=0.5),  # five calls are no trend
            errors("content_filtered", 10, claims=20),
            errors("rate_limited", 10, claims=20),
        ),
        at="20m",
    ),
    Case(
        "BreakerOpen",
        {'naru_lane_breaker_open{lane="openai"}': flat(1)},
        (
            {'naru_lane_breaker_open{lane="openai"}': flat(0)},
            {'naru_lane_breaker_open{lane="openai"}': "1 0 1 0 1 0 1 0 1 0 1"},  # it flaps, and questions are answered
        ),
    ),
    Case(
        "ProviderLimitsUs",
        errors("rate_limited", 2, claims=20),
        (errors("rate_limited", 0.5, claims=20), errors("server_failed", 10, claims=20)),
        at="20m",
    ),
    Case(
        "ProviderRefusesKey",
        {'naru_provider_errors_total{provider="openai",kind="auth_failed"}': "0+0x15 1+0x15"},
        (
            {'naru_provider_errors_total{provider="openai",kind="auth_failed"}': flat(4)},
            {'naru_provider_errors_total{provider="openai",kind="server_failed"}': grows(1)},
        ),
        at="17m",
    ),
    Case(
        "CostPerHour",
        {'naru_cost_dollars_total{model="a"}': "0+0.3x90", 'naru_cost_dollars_total{model="b"}': "0+0.2x90"},
        ({'naru_cost_dollars_total{model="a"}': "0+0.3x90"},),
        at="80m",
    ),
    Case(
        "CostUnknown",
        {'naru_unpriced_answers_total{model="a"}': "0+1x90"},
        ({'naru_unpriced_answers_total{model="a"}': "0+0x30 1+0x60"},),
        at="60m",
    ),
)

DISK = 'node_filesystem_{}_bytes{{fstype="ext4",mountpoint="/"}}'


def disk(avail: str) -> Series:
    """Return a disk of 100 bytes, `avail` of them free."""
    return {DISK.format("avail"): avail, DISK.format("size"): DAYS.format(100)}


def hours(value: float) -> str:
    """Return a constant series over days."""
    return DAYS.format(f"{value:.0f}")


JOBS = ("web", "worker", "flower", "postgres", "redis", "node", "cadvisor", "site", "alertmanager")
ALL_UP: Series = {f'up{{job="{job}"}}': flat(1) for job in JOBS}
EXPIRY = 'probe_ssl_earliest_cert_expiry{job="site"}'
BACKUP, DRILL = "naru_backup_last_success_timestamp_seconds", "naru_restore_drill_last_success_timestamp_seconds"

SERVERS = (
    Case("Watchdog", {}, ()),  # it always fires
    Case("TargetDown", {'up{job="worker",instance="a"}': flat(0)}, ({'up{job="worker",instance="a"}': flat(1)},)),
    Case("TargetMissing", {name: value for name, value in ALL_UP.items() if "redis" not in name}, (ALL_UP,)),
    Case("TargetMissing", {}, (), count=len(JOBS)),
    Case("SiteDown", {'probe_success{job="site"}': flat(0)}, ({'probe_success{job="site"}': flat(1)},)),
    Case("SiteDown", {}, ()),
    Case("CertificateEndsSoon", {EXPIRY: hours(10 * 86400)}, ({EXPIRY: hours(60 * 86400)},), at="3h", interval="1h"),
    Case("CertificateEnds", {EXPIRY: hours(2 * 86400)}, ({EXPIRY: hours(10 * 86400)},), at="3h", interval="1h"),
    Case("CertificateEnds", {}, (), at="3h", interval="1h"),
    Case("CertificateIsOurOwn", {EXPIRY: hours(3650 * 86400)}, ({EXPIRY: hours(390 * 86400)},), at="3h", interval="1h"),
    Case(
        "AlertsAreNotDelivered",
        {'alertmanager_notifications_failed_total{integration="webhook",reason="clientError"}': grows(1)},
        ({'alertmanager_notifications_failed_total{integration="webhook",reason="clientError"}': flat(5)},),
    ),
    Case("PostgresDown", {"pg_up": flat(0)}, ({"pg_up": flat(1)},)),
    Case("PostgresDown", {}, ()),
    Case(
        "PostgresConnections",
        {
            'pg_stat_database_numbackends{datname="naru"}': flat(80),
            'pg_stat_database_numbackends{datname="postgres"}': flat(2),
            "pg_settings_max_connections": flat(100),
        },
        ({'pg_stat_database_numbackends{datname="naru"}': flat(79), "pg_settings_max_connections": flat(100)},),
    ),
    Case("RedisDown", {"redis_up": flat(0)}, ({"redis_up": flat(1)},)),
    Case("RedisDown", {}, ()),
    Case(
        "RedisMemory",
        {"redis_memory_used_bytes": flat(81), "redis_memory_max_bytes": flat(100)},
        (
            {"redis_memory_used_bytes": flat(79), "redis_memory_max_bytes": flat(100)},
            {"redis_memory_used_bytes": flat(79), "redis_memory_max_bytes": flat(0)},  # no limit is set
        ),
    ),
    Case("RedisCannotSave", {"redis_aof_last_write_status": flat(0)}, ({"redis_aof_last_write_status": flat(1)},)),
    Case(
        "RedisCannotSave",
        {"redis_aof_last_bgrewrite_status": flat(0)},
        ({"redis_aof_last_bgrewrite_status": flat(1)},),
    ),
    Case(
        "DiskFull",
        disk(hours(9)),
        (
            disk(hours(11)),
            {key.replace("ext4", "tmpfs"): value for key, value in disk(hours(1)).items()},
        ),
        at="3h",
        interval="1h",
    ),
    Case(
        "DiskFills",
        disk("50-3x30"),
        (disk("50-0.2x30"), disk("100-4x30")),  # slowly; and with much room left
        at="8h",
        interval="1h",
    ),
    Case("BackupTooOld", {BACKUP: hours(0)}, ({BACKUP: "0+3600x40"},), at="28h", interval="1h"),
    Case("BackupUnknown", {}, ({BACKUP: hours(0)},), at="28h", interval="1h"),
    Case("RestoreDrillTooOld", {DRILL: hours(0)}, ({DRILL: hours(2 * 86400)},), at="195h", interval="1h"),
    Case("RestoreDrillUnknown", {}, ({DRILL: hours(0)},), at="194h", interval="1h"),
)


def events(*, bad: float, good: float, samples: int) -> Series:
    """Return `bad` and `good` questions per interval: the bad ones fail, start late and get a late first word."""
    every = bad + good
    numbers = {
        'naru_failed_total{code="server_failed"}': bad,
        'chatbot_requests_total{status="failed"}': bad,
        'chatbot_requests_total{status="succeeded"}': good,
        'chatbot_requests_total{status="cancelled"}': every,  # a stop is not a failure
        'naru_first_word_seconds_bucket{le="5.0"}': good,
        "naru_first_word_seconds_count": every,
        'naru_queue_wait_seconds_bucket{le="2.0"}': good,
        "naru_queue_wait_seconds_count": every,
    }
    return {name: f"0+{step:g}x{samples}" for name, step in numbers.items()}


THEIR_OWN: Series = {
    'naru_failed_total{code="context_too_long"}': "0+9x90",
    'chatbot_requests_total{status="failed"}': "0+9x90",
    'chatbot_requests_total{status="succeeded"}': "0+1x90",
}
#: Bad for the first hour, good afterwards: the short window ends the alert.
OVER: Series = {
    'naru_failed_total{code="server_failed"}': "0+5x60 300+0x30",
    'chatbot_requests_total{status="failed"}': "0+5x60 300+0x30",
    'chatbot_requests_total{status="succeeded"}': "0+5x90",
}

SLO = (
    Case(
        "BudgetBurnsFast",
        events(bad=8, good=2, samples=90),
        (
            events(bad=0.01, good=9.99, samples=90),
            events(bad=0.08, good=0.02, samples=90),  # six questions an hour
            THEIR_OWN,
            OVER,
        ),
        at="80m",
        count=3,
    ),
    Case(
        "BudgetBurns",
        events(bad=40, good=60, samples=60),
        (events(bad=0.1, good=99.9, samples=60), events(bad=0.4, good=0.6, samples=60)),
        at="7h",
        interval="10m",
        count=3,
    ),
    Case(
        "BudgetBurnsSlowly",
        events(bad=10, good=90, samples=90),
        (events(bad=0.1, good=99.9, samples=90), events(bad=0.1, good=0.9, samples=90)),
        at="75h",
        interval="1h",
        count=3,
    ),
)

CASES = (*QUEUE, *PROVIDERS, *SERVERS, *SLO)

#: A tenth is bad: 20, 2 and 10 times the allowed share.
BURN = {'slo="answered"': 20.0, 'slo="first_word"': 2.0, 'slo="queue_wait"': 10.0}
TENTH = events(bad=1, good=9, samples=90)
QUARTER = {'provider="openai"': 0.25}
HOURLY = events(bad=10, good=90, samples=90)

RECORDS = (
    Record("naru:limit_cost:dollars_per_hour", {}, {"": 20.0}),
    Record("naru:provider_failures:ratio_rate10m", errors("overloaded", 5, claims=20), QUARTER, at="20m"),
    Record("naru:provider_refusals:ratio_rate10m", errors("rate_limited", 5, claims=20), QUARTER, at="20m"),
    Record("naru:cost:dollars_per_hour", {'naru_cost_dollars_total{model="a"}': "0+0.5x90"}, {"": 30.0}, at="80m"),
    Record("naru:slo_burn:rate5m", TENTH, BURN, at="80m"),
    Record("naru:slo_burn:rate30m", TENTH, BURN, at="80m"),
    Record("naru:slo_burn:rate1h", TENTH, BURN, at="80m"),
    Record("naru:slo_burn:rate6h", HOURLY, BURN, at="75h", interval="1h"),
    Record("naru:slo_burn:rate3d", HOURLY, BURN, at="75h", interval="1h"),
    Record("naru:slo_questions:increase1h", TENTH, dict.fromkeys(BURN, 600.0), at="80m"),
    Record("naru:slo_questions:increase6h", HOURLY, dict.fromkeys(BURN, 600.0), at="75h", interval="1h"),
    Record("naru:slo_questions:increase3d", HOURLY, dict.fromkeys(BURN, 7200.0), at="75h", interval="1h"),
)
