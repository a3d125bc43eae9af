"""Answers, failures, first texts and tokens of the last hour and day."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, text

from shared.postgres.database import statement

#: The newest ended requests that one look counts: 10,000 take 30 ms to read and count.
MOST_READ = 10_000
#: The models and the reasons on display: the most frequent.
MOST_LINES = 20


class Span(StrEnum):
    """A time until now, and its parts."""

    HOUR = "hour"
    DAY = "day"

    @property
    def part_seconds(self) -> int:
        """The length of one part."""
        return 300 if self is Span.HOUR else 3600

    @property
    def parts(self) -> int:
        """The number of parts."""
        return 12 if self is Span.HOUR else 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Ended requests. First texts are in seconds since the question, and None without any."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    first_text_median: float | None = None
    first_text_slow: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0

    @property
    def ended(self) -> int:
        """The number of requests that ended."""
        return self.succeeded + self.failed + self.cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """The use of one span. `by_part` begins with the newest part; the others with the most frequent line."""

    whole: Counts
    by_part: tuple[Counts, ...]
    by_model: tuple[tuple[str, Counts], ...]
    failed_by_code: tuple[tuple[str, int], ...]
    #: Whether more than MOST_READ requests ended in this time: then the oldest are missing.
    is_cut: bool


_USE = text(
    """
    WITH ended AS MATERIALIZED (
        SELECT model, status, error_code, input_tokens, output_tokens, cached_input_tokens,
               floor(extract(epoch FROM statement_timestamp() - ended_at) / :part)::int AS part,
               extract(epoch FROM first_token_at - created_at) AS first_text
        FROM chat_request
        WHERE ended_at IS NOT NULL AND ended_at > statement_timestamp() - make_interval(secs => :seconds)
        ORDER BY ended_at DESC
        LIMIT :most
    )
    SELECT grouping(part) = 0 AS of_part, grouping(model) = 0 AS of_model, grouping(error_code) = 0 AS of_code,
           greatest(part, 0) AS part, model, error_code,
           count(*) FILTER (WHERE status = 'succeeded')::int AS succeeded,
           count(*) FILTER (WHERE status = 'failed')::int AS failed,
           count(*) FILTER (WHERE status = 'cancelled')::int AS cancelled,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY first_text) AS first_text_median,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY first_text) AS first_text_slow,
           coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
           coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
           coalesce(sum(cached_input_tokens), 0)::bigint AS cached_input_tokens
    FROM ended
    GROUP BY GROUPING SETS ((), (part), (model), (error_code))
    """
)


def use_of(engine: Engine, span: Span, *, most: int = MOST_READ) -> Use:
    """Return the use of this span, from the newest `most` ended requests. Raises Unavailable."""
    values = {"part": span.part_seconds, "seconds": span.part_seconds * span.parts, "most": most}
    with statement(engine) as connection:
        rows = connection.execute(_USE, values).mappings().all()
    parts = {row["part"]: _counts(row) for row in rows if row["of_part"]}
    whole = next(_counts(row) for row in rows if not (row["of_part"] or row["of_model"] or row["of_code"]))
    models = [(row["model"], _counts(row)) for row in rows if row["of_model"]]
    codes = [(row["error_code"], row["failed"]) for row in rows if row["of_code"] and row["failed"]]
    return Use(
        whole=whole,
        by_part=tuple(parts.get(number, Counts()) for number in range(span.parts)),
        by_model=tuple(sorted(models, key=lambda line: (-line[1].ended, line[0]))[:MOST_LINES]),
        failed_by_code=tuple(sorted(codes, key=lambda line: (-line[1], line[0]))[:MOST_LINES]),
        is_cut=whole.ended >= most,
    )


def _counts(row: Any) -> Counts:
    return Counts(**{name: row[name] for name in Counts.__dataclass_fields__})
