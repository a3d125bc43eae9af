"""Every metric of Naru, declared once. Labels are bounded: status, kind, model; never an id, an owner or a text.

The operations guide sets the first four names. Gauges of the whole system come from Postgres (`SystemGauges`), with the
same value from every process: alert rules and dashboards use their max, and the sum of all other metrics.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, text

from shared.errors import DEADLINE, INTERNAL, UNSERVED, WORKER_LOST, OverLimit, ProviderError, Unavailable
from shared.keeping import Keeping, overdue_seconds
from shared.postgres.database import transaction
from shared.tables import TERMINAL

log = logging.getLogger(__name__)

#: 2 and 5 are limits of the objectives (docs/operations/alerts.md); a histogram counts exactly only at its bounds.
_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)
_ANSWER = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900)

REGISTRY = CollectorRegistry(auto_describe=True)
#: Memory, CPU time, start time and open files of the process, as `process_…`; on Linux only.
ProcessCollector(registry=REGISTRY)


def _counter(name: str, doc: str, *labels: str) -> Counter:
    return Counter(name, doc, labels, registry=REGISTRY)


def _histogram(name: str, doc: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, doc, buckets=buckets, registry=REGISTRY)


REQUESTS = _counter("chatbot_requests_total", "Requests that ended, by status", "status")
RESPONSE_SECONDS = _histogram(
    "chatbot_response_duration_seconds", "Time from the question to the stored answer", _ANSWER
)
ACTIVE_SESSIONS = Gauge("chatbot_active_sessions", "Open conversations that a browser follows", registry=REGISTRY)
TOKENS = _counter("chatbot_tokens_used", "Tokens as counted by the provider", "model", "direction")

QUEUE_SECONDS = _histogram("naru_queue_wait_seconds", "Time from the question to its first claim", _LATENCY)
FIRST_WORD_SECONDS = _histogram(
    "naru_first_word_seconds",
    "Time from the question to the first word of its answer or its reasoning, waits included",
    _LATENCY,
)
FIRST_TOKEN_SECONDS = _histogram(
    "naru_first_token_seconds", "Time from a claim to the model's first word, of reasoning too", _LATENCY
)
STOP_SECONDS = _histogram(
    "naru_stop_seconds", "Time from the notice of a stop to the end of the provider's stream", _LATENCY
)
TICK_SECONDS = _histogram("naru_reconciler_tick_seconds", "Duration of a reconciler tick", _LATENCY)
CLAIMS = _counter("naru_claims_total", "Attempts started: requests claimed by this process", "provider")
ATTEMPTS = _counter("naru_attempts_total", "Attempts that ended, by outcome", "outcome")
FAILED = _counter("naru_failed_total", "Requests that failed, by error code", "code")
EXPIRED_LEASES = _counter("naru_expired_leases_total", "Workers marked lost by this process")
TAKEN_BACK = _counter("naru_taken_back_total", "Requests taken back from lost workers by this process")
FENCED_WRITES = _counter("naru_fenced_writes_total", "Writes refused because this worker no longer owned the request")
PROVIDER_ERRORS = _counter("naru_provider_errors_total", "Provider errors, by kind", "provider", "kind")
PUBLISH_FAILURES = _counter("naru_publish_failures_total", "Hints or live text that could not be sent to Redis", "what")
BROKER_AWAY = Gauge(
    "naru_broker_away", "1 while Redis takes no write and this worker takes requests from Postgres", registry=REGISTRY
)
LIVE_REDIS_AWAY = Gauge(
    "naru_live_redis_away",
    "1 while this process cannot send or read live text there, by Redis server",
    ["server"],
    registry=REGISTRY,
)
RUNNING_HERE = Gauge("naru_running_here", "Answers that this worker process is running", registry=REGISTRY)
SUBMITTED = _counter("naru_submitted_total", "Questions stored by this process")
STAND_INS = _counter(
    "naru_stand_ins_total", "Requests that ended with another model than the chosen one, by both", "asked", "model"
)
COST = _counter("naru_cost_dollars_total", "Cost of answers by the price table, in US dollars", "model")
UNPRICED = _counter("naru_unpriced_answers_total", "Answers of unknown cost: no price, or no usage reported", "model")
ANSWER_CACHE = _counter("naru_answer_cache_total", "Looks for an owner's earlier answer, by result", "result")
COOKIES = _counter(
    "naru_browser_cookies_total",
    "Cookies of browsers that open a page or its socket, by validity",
    "at",
    "what",
)
REFUSED_HOSTS = _counter("naru_refused_hosts_total", "Requests refused for an unknown Host header")
OVER_LIMIT = _counter(
    "naru_over_limit_total", "Questions, new browsers and live streams refused by this process, by limit", "limit"
)
SOCKETS = Gauge("naru_sockets", "Pages (WebSockets) open in this process", registry=REGISTRY)
SOCKETS_CLOSED = _counter("naru_sockets_closed_total", "WebSockets that we closed", "reason")
SOCKETS_REFUSED = _counter("naru_sockets_refused_total", "WebSockets refused", "reason")
CONNECTIONS_CLOSED = _counter(
    "naru_connections_closed_total", "HTTP connections closed by a limit on time or number", "reason"
)
PAGE_WAIT_SECONDS = _histogram(
    "naru_page_wait_seconds", "Time from a click's arrival to the start of its page run", _LATENCY
)
SIGN_INS = _counter("naru_sign_ins_total", "Attempts to sign in, by outcome", "outcome")
MAILS = _counter("naru_mails_total", "Mails, by kind and outcome", "kind", "outcome")
PURGED = _counter(
    "naru_purged_rows_total", "Rows that this process removed from the database because their time was over", "kind"
)
AUDIT_BROKEN = Gauge("naru_audit_broken", "1 while the chain of the record of events is broken", registry=REGISTRY)
AUDIT_SENT = _counter("naru_audit_sent_total", "Events that this process sent to NARU_AUDIT_LOG")
AUDIT_UNSENT = Gauge(
    "naru_audit_unsent",
    "Events that this process could not send to NARU_AUDIT_LOG at its last attempt, up to 100",
    registry=REGISTRY,
)
PURGE_SECONDS = _histogram("naru_purge_slice_seconds", "Duration of one slice of the purge", _LATENCY)

#: The error codes of a failed request, and the kinds of PROVIDER_ERRORS.
CODES = (
    ProviderError.code,
    *(each.code for each in ProviderError.__subclasses__()),
    DEADLINE,
    WORKER_LOST,
    UNSERVED,
    INTERNAL,
)
#: A new browser opens a page without a cookie. Its socket must carry the cookie that the page set.
COOKIE_KINDS = {"page": ("good", "refused", "new"), "socket": ("good", "refused", "missing")}
STREAM_LIMITS = ("streams_per_owner", "streams_per_address", "streams")
LIMITS = (*(each.code for each in OverLimit.__subclasses__()), "address_newcomers", *STREAM_LIMITS)

#: Too many messages, a message too long, an unfinished one, one that our page never sends; the session has ended.
CLOSE_REASONS = ("flood", "size", "unfinished", "protocol", "signed_out")
#: Too many in the process, from an address, without a cookie, in a browser; opened too often by one; too fast by all.
REFUSE_REASONS = ("process", "address", "identity", "owner", "openings", "pace")
#: The session began; the other outcomes are codes of errors.
SIGN_IN_OUTCOMES = (
    *("good", "wrong_password", "too_many_sign_ins", "wrong_code"),
    *("sign_in_expired", "sign_in_cancelled", "sign_in_unreachable", "sign_in_refused", "sign_in_invalid"),
    *("sign_in_clocks", "issuer_changed", "not_admitted", "bad_groups", "account_disabled"),
)
MAIL_KINDS, MAIL_OUTCOMES = ("password", "sign_up"), ("sent", "failed")
#: A request that arrived too slowly, a response that was read too slowly, too many connections.
CONNECTION_REASONS = ("late", "stalled", "full")
#: The kinds of data that the purge removes: whole rows, and columns of rows that stay.
PURGED_KINDS = (
    "conversation",
    "message",
    "request",
    "attempt",
    "reasoning",
    "worker",
    "key",
    "checkpoint",
    "session",
    "link",
    "guest_link",
    "allowance",
    "event",
)


def _begin_at_zero() -> None:
    """Create all label values at zero: Prometheus sees no increase in a counter that appears with its first event."""
    known = (
        (REQUESTS, [status.value for status in TERMINAL]),
        (PUBLISH_FAILURES, ("hint", "live")),
        (FAILED, CODES),
        (OVER_LIMIT, LIMITS),
        (SOCKETS_CLOSED, CLOSE_REASONS),
        (SOCKETS_REFUSED, REFUSE_REASONS),
        (CONNECTIONS_CLOSED, CONNECTION_REASONS),
        (PURGED, PURGED_KINDS),
        (SIGN_INS, SIGN_IN_OUTCOMES),
    )
    for counter, values in known:
        for value in values:
            counter.labels(value)
    for kind in MAIL_KINDS:
        for outcome in MAIL_OUTCOMES:
            MAILS.labels(kind, outcome)
    for at, kinds in COOKIE_KINDS.items():
        for what in kinds:
            COOKIES.labels(at, what)


_begin_at_zero()

# The last hour by statement_timestamp(), because clock_timestamp() changes from row to row and so cannot use the index.
_SYSTEM = text(
    """
    SELECT count(*) FILTER (WHERE status = 'queued') AS queued,
           count(*) FILTER (WHERE status = 'running') AS running,
           coalesce(extract(epoch FROM clock_timestamp() - min(available_at)
                    FILTER (WHERE status = 'queued' AND available_at <= clock_timestamp())), 0) AS oldest,
           (SELECT count(*) FROM worker WHERE lost_at IS NULL AND lease_expires_at > clock_timestamp()) AS workers,
           (SELECT coalesce(sum(slots), 0) FROM worker
             WHERE lost_at IS NULL AND lease_expires_at > clock_timestamp() AND NOT draining) AS slots,
           (SELECT count(*) FROM chat_request r WHERE r.ended_at > statement_timestamp() - interval '1 hour'
               AND NOT EXISTS (SELECT FROM message m WHERE m.request_id = r.id))
           + count(*) FILTER (WHERE EXISTS (SELECT FROM message m WHERE m.request_id = chat_request.id)) AS unaccounted
      FROM chat_request WHERE status IN ('queued', 'running')
    """
)
_SYSTEM_GAUGES = {
    "queued": ("naru_requests_queued", "Requests that wait for a worker"),
    "running": ("naru_requests_running", "Requests that workers are answering"),
    "oldest": ("naru_oldest_queued_seconds", "Waiting time of the oldest due request"),
    # Each ended request has one answer (a unique index), and no other request has any. This counts the exceptions: lost
    # or duplicated answers.
    "unaccounted": (
        "naru_requests_unaccounted",
        "Requests that ended in the last hour without an answer, or have one before their end: always 0",
    ),
    "workers": ("naru_workers", "Workers with a valid lease"),
    "slots": ("naru_slots", "Answers that the live workers can run at once"),
    "overdue": ("naru_purge_overdue_seconds", "How long ago the oldest row should have left the database"),
}

_LANES = text(
    """
    SELECT lane.name,
           (SELECT count(*) FROM chat_request WHERE status = 'queued' AND chat_request.lane = lane.name) AS queued,
           (SELECT count(*) FROM chat_request WHERE status = 'running' AND chat_request.lane = lane.name) AS running,
           most_running, (retry_at IS NOT NULL)::int AS is_open,
           (SELECT count(*) FROM worker
             WHERE lost_at IS NULL AND NOT draining AND lease_expires_at > clock_timestamp() AND free ? lane.name)
               AS workers
      FROM lane ORDER BY lane.name
    """
)
#: By lane; a lane without a limit has no series here.
_LANE_GAUGES = {
    "queued": ("naru_lane_queued", "Requests that wait in the lane"),
    "running": ("naru_lane_running", "Requests of the lane that workers are answering"),
    "most_running": ("naru_lane_limit", "Most answers of the lane at once (NARU_LANES)"),
    "is_open": ("naru_lane_breaker_open", "1 while the lane waits for its provider, which one request at a time tries"),
    "workers": ("naru_lane_workers", "Workers that serve the lane"),
}


class SystemGauges(Collector):
    """Gauges of the whole system, read from Postgres when scraped; absent while it does not answer."""

    def __init__(self, engine: Engine, keeping: Keeping) -> None:
        self._engine, self._keeping = engine, keeping

    def describe(self) -> Iterator[Metric]:
        """Yield the names without asking Postgres, which may be down when the process starts."""
        for name, doc in _SYSTEM_GAUGES.values():
            yield GaugeMetricFamily(name, doc)
        for name, doc in _LANE_GAUGES.values():
            yield GaugeMetricFamily(name, doc, labels=("lane",))

    def collect(self) -> Iterator[Metric]:
        """Yield all gauges from one transaction."""
        try:
            with transaction(self._engine) as connection:
                overdue = max(overdue_seconds(connection, self._keeping).values())
                row = {**connection.execute(_SYSTEM).mappings().one(), "overdue": overdue}
                lanes = connection.execute(_LANES).mappings().all()
        except Unavailable:
            log.info("metrics: Postgres does not answer")
            return
        for column, (name, doc) in _SYSTEM_GAUGES.items():
            yield GaugeMetricFamily(name, doc, value=float(row[column]))
        for column, (name, doc) in _LANE_GAUGES.items():
            gauge = GaugeMetricFamily(name, doc, labels=("lane",))
            for lane in lanes:
                if lane[column] is not None:
                    gauge.add_metric((lane["name"],), float(lane[column]))
            yield gauge
