"""Every metric of Naru, declared once. Labels are bounded: status, kind, model; never an id, an owner or a text.

The first four names are the operations guide's. Gauges of the whole system come from Postgres (`SystemGauges`), the
same from every process that exports them: rules and boards take the max of them, and sums of everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, text

from shared.errors import DEADLINE, INTERNAL, WORKER_LOST, OverLimit, ProviderError, Unavailable
from shared.postgres.database import transaction
from shared.tables import TERMINAL

log = logging.getLogger(__name__)

#: 2 and 5 are the objectives' own limits (docs/operations/alerts.md): a histogram knows shares at its bounds only.
_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)
_ANSWER = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900)

REGISTRY = CollectorRegistry(auto_describe=True)
#: The process's own memory, CPU time, start and open files, as `process_…`; on Linux only.
ProcessCollector(registry=REGISTRY)


def _counter(name: str, doc: str, *labels: str) -> Counter:
    return Counter(name, doc, labels, registry=REGISTRY)


def _histogram(name: str, doc: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, doc, buckets=buckets, registry=REGISTRY)


REQUESTS = _counter("chatbot_requests_total", "Requests that ended, by status", "status")
RESPONSE_SECONDS = _histogram("chatbot_response_duration_seconds", "From the question to the stored answer", _ANSWER)
ACTIVE_SESSIONS = Gauge("chatbot_active_sessions", "Open conversations that a browser follows", registry=REGISTRY)
TOKENS = _counter("chatbot_tokens_used", "Tokens, as the provider counted them", "model", "direction")

QUEUE_SECONDS = _histogram("naru_queue_wait_seconds", "From the question to its first claim", _LATENCY)
FIRST_WORD_SECONDS = _histogram(
    "naru_first_word_seconds", "From the question to the first word of its answer, waiting included", _LATENCY
)
FIRST_TOKEN_SECONDS = _histogram("naru_first_token_seconds", "From a claim to the model's first word", _LATENCY)
STOP_SECONDS = _histogram("naru_stop_seconds", "From hearing of a stop to the closed provider stream", _LATENCY)
TICK_SECONDS = _histogram("naru_reconciler_tick_seconds", "One reconciler tick", _LATENCY)
CLAIMS = _counter("naru_claims_total", "Attempts begun: requests claimed by this process", "provider")
ATTEMPTS = _counter("naru_attempts_total", "Attempts that ended, by outcome", "outcome")
FAILED = _counter("naru_failed_total", "Requests that failed, by the code of the reason", "code")
EXPIRED_LEASES = _counter("naru_expired_leases_total", "Workers marked lost by this process")
TAKEN_BACK = _counter("naru_taken_back_total", "Requests taken back from lost workers by this process")
FENCED_WRITES = _counter("naru_fenced_writes_total", "Writes refused because the right to the request was lost")
PROVIDER_ERRORS = _counter("naru_provider_errors_total", "Errors of providers, by kind", "provider", "kind")
PUBLISH_FAILURES = _counter("naru_publish_failures_total", "Hints or live text that Redis did not take", "what")
BROKER_AWAY = Gauge("naru_broker_away", "1 while this worker takes requests from Postgres itself", registry=REGISTRY)
RUNNING_HERE = Gauge("naru_running_here", "Answers under way in this worker process", registry=REGISTRY)
SUBMITTED = _counter("naru_submitted_total", "Questions stored by this process")
COST = _counter("naru_cost_dollars_total", "What answers cost by the price table, in US dollars", "model")
UNPRICED = _counter("naru_unpriced_answers_total", "Answers whose cost is not known: no price, or no usage", "model")
COOKIES = _counter(
    "naru_browser_cookies_total",
    "Browsers' cookies where a page or its socket is opened, by what they were",
    "at",
    "what",
)
REFUSED_HOSTS = _counter("naru_refused_hosts_total", "Requests for a name that the page does not answer to")
OVER_LIMIT = _counter(
    "naru_over_limit_total", "Questions, new browsers and live streams refused by this process, by the limit", "limit"
)
SOCKETS = Gauge("naru_sockets", "Pages (WebSockets) open in this process", registry=REGISTRY)
SOCKETS_CLOSED = _counter("naru_sockets_closed_total", "WebSockets that were closed for breaking a rule", "reason")
SOCKETS_REFUSED = _counter("naru_sockets_refused_total", "WebSockets that were not let in", "reason")
CONNECTIONS_CLOSED = _counter(
    "naru_connections_closed_total", "HTTP connections that were closed for a bound on time or number", "reason"
)
PAGE_WAIT_SECONDS = _histogram("naru_page_wait_seconds", "From a click's arrival to the start of its run", _LATENCY)

#: The codes that a request fails with; PROVIDER_ERRORS has them as its kinds.
CODES = (ProviderError.code, *(each.code for each in ProviderError.__subclasses__()), DEADLINE, WORKER_LOST, INTERNAL)
#: At a page a browser may have none: it is new. At the page's socket it must have the one that the page gave it.
COOKIE_KINDS = {"page": ("good", "refused", "new"), "socket": ("good", "refused", "missing")}
STREAM_LIMITS = ("streams_per_owner", "streams_per_address", "streams")
LIMITS = (*(each.code for each in OverLimit.__subclasses__()), "address_newcomers", *STREAM_LIMITS)

#: Too many messages, too long a message, one that never ended, one that no page of ours sends.
CLOSE_REASONS = ("flood", "size", "unfinished", "protocol")
#: Too many in the process, from the address, without a cookie, in the browser; opened too often; too many at once.
REFUSE_REASONS = ("process", "address", "identity", "owner", "openings", "pace")
#: A request that did not arrive in time, an answer that was not taken, one connection too many.
CONNECTION_REASONS = ("late", "stalled", "full")


def _begin_at_zero() -> None:
    """A counter that appears with its first event hides it: Prometheus sees no growth from nothing."""
    for status in TERMINAL:
        REQUESTS.labels(status.value)
    for what in ("hint", "live"):
        PUBLISH_FAILURES.labels(what)
    for code in CODES:
        FAILED.labels(code)
    for limit in LIMITS:
        OVER_LIMIT.labels(limit)
    for reason in CLOSE_REASONS:
        SOCKETS_CLOSED.labels(reason)
    for reason in REFUSE_REASONS:
        SOCKETS_REFUSED.labels(reason)
    for reason in CONNECTION_REASONS:
        CONNECTIONS_CLOSED.labels(reason)
    for at, kinds in COOKIE_KINDS.items():
        for what in kinds:
            COOKIES.labels(at, what)


_begin_at_zero()

# The last hour's by statement_timestamp(): an index cannot be asked for what is later than clock_timestamp(), which
# changes from row to row.
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
    "queued": ("naru_requests_queued", "Requests waiting for a worker now"),
    "running": ("naru_requests_running", "Requests being answered now"),
    "oldest": ("naru_oldest_queued_seconds", "How long the oldest due request has waited"),
    # Accepted = succeeded + failed + cancelled + queued + running: each end has its answer (an index sees to "one"),
    # and nothing else has any. What this counts is lost, or doubled.
    "unaccounted": (
        "naru_requests_unaccounted",
        "Requests that ended within the last hour without an answer, or have one and have not ended: always 0",
    ),
    "workers": ("naru_workers", "Workers with a valid lease"),
    "slots": ("naru_slots", "Answers that the live workers can carry at once"),
}


class SystemGauges(Collector):
    """Gauges of the whole system, read from Postgres when scraped; left out while it does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterator[Metric]:
        """The names, without asking Postgres: registering must not need it."""
        for name, doc in _SYSTEM_GAUGES.values():
            yield GaugeMetricFamily(name, doc)

    def collect(self) -> Iterator[Metric]:
        """One statement a scrape."""
        try:
            with transaction(self._engine) as connection:
                row = connection.execute(_SYSTEM).mappings().one()
        except Unavailable:
            log.info("metrics: Postgres does not answer")
            return
        for column, (name, doc) in _SYSTEM_GAUGES.items():
            yield GaugeMetricFamily(name, doc, value=float(row[column]))
