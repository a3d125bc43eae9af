"""The checker: compares what the people saw with the rows and the provider's log, and counts violations.

It is pure: entries, rows and calls go in, and a verdict comes out. Every count of `ZERO` must be zero. Questions use
`emit=call`, so that each word of an answer names its provider call.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

from tests.faults.evidence import Call, Evidence, Row
from tests.faults.history import Entry
from workers.simulator.script import Script, read
from workers.simulator.text import marked_tokens, tokens_of

#: The time after its deadline within which a request must end.
GRACE_SECONDS = 30.0
#: One request with more calls or losses than this is unbounded.
MOST_CALLS = 12
MAX_LOSSES = 3
#: Postgres and the simulator share the machine's clock, but a log line is written a moment after its event.
SLACK_SECONDS = 0.2
#: Faults of the provider that end a request without a retry.
FINAL = frozenset(
    {"400", "401", "402", "403", "404", "quota", "balance", "context", "filter", "html", "badhead", "gzip"}
)
#: Error codes that are allowed when connections to the provider are struck again and again.
PROVIDERS_FAULT = frozenset({"stream_broken", "bad_stream", "connect_failed", "server_failed", "first_token_timeout"})
_FIRST = re.compile(r"나0@(\d+) ")

#: The kinds of violation, and what each means.
ZERO = {
    "lost": "accepted, but the row or the answer is missing",
    "stuck": "accepted, but not ended in time",
    "unfounded": "failed although its question asked for no failure",
    "doubled": "answered twice, or two requests from one key",
    "wrong": "a stored answer that is not the complete text of exactly one call",
    "stale": "an accepted write from an attempt that had lost the request",
    "after_stop": "words after the end, or calls or a success after an acknowledged stop",
    "not_prefix": "a text on the screen that is not the beginning of one attempt",
    "phantom": "stored although it was refused and never sent again",
    "unbounded": "more calls or losses than the rules allow",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation."""

    kind: str
    request: str
    detail: str


@dataclass(slots=True)
class Verdict:
    """The counts of one round, or the sum of many."""

    accepted: int = 0
    succeeded: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    unknown: int = 0
    screens: int = 0
    calls: int = 0
    extra_calls: int = 0
    attempts: int = 0
    losses: int = 0
    #: Screens with more words than were stored in the end (after a stop that a dead worker could not answer).
    shrank: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Return how many findings of a kind there are."""
        return sum(finding.kind == kind for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of each kind of violation."""
        return {kind: self.count(kind) for kind in ZERO}

    @property
    def is_clean(self) -> bool:
        """Whether there is no violation."""
        return not self.findings


def check(entries: Sequence[Entry], evidence: Evidence, *, provider_struck: bool = False) -> Verdict:
    """Judge a round. With `provider_struck`, requests may fail with the codes of `PROVIDERS_FAULT`."""
    return _Case(entries, evidence, provider_struck=provider_struck).judge()


class _Case:
    def __init__(self, entries: Sequence[Entry], evidence: Evidence, *, provider_struck: bool) -> None:
        self.provider_struck = provider_struck
        self.entries, self.evidence = entries, evidence
        self.verdict = Verdict()
        self.rows = {row.request: row for row in evidence.rows}
        self.calls: dict[str, list[Call]] = defaultdict(list)
        for call in sorted(evidence.calls, key=lambda each: each.number):
            self.calls[call.request].append(call)
        self.of_key: dict[str, set[str]] = defaultdict(set)
        for row in evidence.rows:
            self.of_key[row.key].add(row.request)
        for entry in entries:
            if entry.what == "accepted":
                self.of_key[entry.key].add(entry.request)

    def judge(self) -> Verdict:
        accepted = {entry.request: entry.key for entry in self.entries if entry.what == "accepted"}
        told = Counter(entry.what for entry in self.entries)
        verdict = self.verdict
        verdict.accepted, verdict.refused, verdict.unknown = len(accepted), told["refused"], told["unknown"]
        for request, key in accepted.items():
            self._judge_accepted(request, key)
        for row in self.rows.values():
            self._judge_row(row)
        self._judge_keys()
        self._judge_screens()
        self._judge_stops()
        for anomaly in self.evidence.anomalies:
            self._find("stale", anomaly.request, anomaly.what)
        return verdict

    def _find(self, kind: str, request: str, detail: str) -> None:
        self.verdict.findings.append(Finding(kind, request, detail))

    def _judge_accepted(self, request: str, key: str) -> None:
        row = self.rows.get(request)
        if row is None:
            self._find("lost", request, f"no row; key {key}")
        elif not row.is_ended and self.evidence.at > row.deadline + GRACE_SECONDS:
            self._find("stuck", request, f"{row.status} past its deadline")
        elif not row.is_ended:
            self._find("stuck", request, f"{row.status}, attempt {row.attempt}, when the round was over")

    def _judge_row(self, row: Row) -> None:
        verdict, calls = self.verdict, self.calls[row.request]
        verdict.succeeded += row.status == "succeeded"
        verdict.cancelled += row.status == "cancelled"
        verdict.failed += row.status == "failed"
        verdict.attempts += row.attempt
        verdict.losses += row.losses
        verdict.calls += len(calls)
        verdict.extra_calls += max(0, len(calls) - 1)
        excused = may_fail(row.question) or (self.provider_struck and row.code in PROVIDERS_FAULT)
        if row.status == "failed" and not excused:
            self._find("unfounded", row.request, f"failed: {row.code}, losses {row.losses}")
        if len(row.answers) > 1 or (row.is_ended and not row.answers):
            self._find("doubled" if row.answers else "lost", row.request, f"{row.status}, {len(row.answers)} answers")
        if len(calls) > MOST_CALLS or row.losses > MAX_LOSSES:
            self._find("unbounded", row.request, f"{len(calls)} calls, {row.losses} losses")
        for answer in row.answers:
            self._judge_answer(row, answer)

    def _judge_answer(self, row: Row, answer: str) -> None:
        call = self._call_of(row.request, answer)
        if row.status == "succeeded" and (call is None or answer != whole_text(row.question, call.number)):
            self._find("wrong", row.request, f"succeeded with {_shown(answer)}")
        elif answer and call is None:
            self._find("wrong", row.request, f"{row.status} with {_shown(answer)}")
        if call is None or not row.attempts or not _FIRST.match(answer):
            return
        if call.began < row.attempts[-1].began - SLACK_SECONDS:
            self._find("stale", row.request, f"the answer is from call {call.number}, before the last attempt")

    def _call_of(self, request: str, text: str) -> Call | None:
        """Return the request's call whose answer begins with `text`, or None."""
        found = _FIRST.match(text)
        if found is None:
            # Less than one word: it may be the beginning of any call.
            return next((each for each in self.calls[request] if _is_beginning(text, self._asked(request), each)), None)
        number = int(found[1])
        call = next((each for each in self.calls[request] if each.number == number), None)
        return call if call is not None and _is_beginning(text, self._asked(request), call) else None

    def _asked(self, request: str) -> str:
        row = self.rows.get(request)
        return row.question if row is not None else ""

    def _judge_keys(self) -> None:
        replies: dict[str, set[str]] = defaultdict(set)
        for entry in self.entries:
            if entry.what in {"accepted", "refused", "unknown"}:
                replies[entry.key].add(entry.what)
        given_up = {entry.key for entry in self.entries if entry.what == "gave_up"}
        for key, requests in self.of_key.items():
            if len(requests) > 1:
                self._find("doubled", min(requests), f"{len(requests)} requests of one key")
            for request in requests:
                if key in given_up and replies[key] == {"refused"}:
                    self._find("phantom", request, f"refused, given up, but stored; {len(self.calls[request])} calls")

    def _judge_screens(self) -> None:
        texts: dict[tuple[int, str], str] = {}
        over: set[tuple[int, str]] = set()
        for entry in self.entries:
            seen = (entry.page, entry.request)
            if entry.what == "ended":
                over.add(seen)
            if entry.what != "text" or not entry.request:
                continue
            text = texts[seen] = entry.text if entry.reset else texts.get(seen, "") + entry.text
            self.verdict.screens += 1
            if text and seen in over:
                self._find("after_stop", entry.request, f"page {entry.page} showed words after the end")
            if text and self._call_of(entry.request, text) is None:
                self._find("not_prefix", entry.request, f"page {entry.page} showed {_shown(text)}")
        for (_, request), text in texts.items():
            row = self.rows.get(request)
            if row is not None and row.answers and len(text) > len(row.answers[0]):
                self.verdict.shrank += row.answers[0] == text[: len(row.answers[0])]

    def _judge_stops(self) -> None:
        for entry in self.entries:
            if entry.what != "stopping" or entry.code not in {"stopping", "cancelled"}:
                continue
            row = self.rows.get(entry.request)
            if row is None:
                continue
            if row.status == "succeeded":
                self._find("after_stop", entry.request, f"Stop was answered {entry.code}, but it succeeded")
            if row.status == "cancelled" and row.ended is not None:
                # A call that was already on its way and was closed before its first word does not count.
                late = [
                    call for call in self.calls[entry.request] if call.began > row.ended + SLACK_SECONDS and call.sent
                ]
                if late:
                    self._find("after_stop", entry.request, f"{len(late)} calls after the stop")


@cache
def _read(words: str) -> tuple[Script, int]:
    script, question = read(words)
    return script, len(tokens_of(script, question))


def whole_text(words: str, call: int) -> str:
    """Return the complete answer of a call with `emit=call`."""
    return "".join(marked_tokens(call, _read(words)[1]))


def may_fail(words: str) -> bool:
    """Return whether the question asks for a failure: a final error, a fault without an end, or poison."""
    script, _ = _read(words)
    endless = bool(script.fault) and script.fault not in {"tail", "drip"} and script.times is None
    return script.fault in FINAL or endless or "poison" in words


def _is_beginning(text: str, words: str, call: Call) -> bool:
    return whole_text(words, call.number).startswith(text)


def _shown(text: str) -> str:
    return f"{len(text)} characters {text[:24]!r} … {text[-24:]!r}"


def add(verdicts: Iterable[Verdict]) -> Verdict:
    """Add up verdicts."""
    total = Verdict()
    for each in verdicts:
        for name in Verdict.__slots__:
            if name != "findings":
                setattr(total, name, getattr(total, name) + getattr(each, name))
        total.findings += each.findings
    return total
