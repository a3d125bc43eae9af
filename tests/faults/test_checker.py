"""Tests of the checker: it accepts a sound history, and reports each kind of violation under its name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.checker import ZERO, Verdict, check, may_fail, whole_text
from tests.faults.evidence import Anomaly, Attempt, Call, Evidence, Row
from tests.faults.history import Entry

WORDS = "[[sim: emit=call tokens=4]] question?"
NOW = 1000.0


class Story:
    """A request that was sent at 1, lost its first worker, and was answered by its second attempt (call 7)."""

    def __init__(self) -> None:
        self.entries = [
            Entry(at=1, page=1, what="submit", key="k", text=WORDS),
            Entry(at=2, page=1, what="accepted", key="k", request="r"),
            Entry(at=3, page=1, what="text", request="r", attempt=1, reset=True, text="나0@5 나1@5 "),
            Entry(at=8, page=1, what="text", request="r", attempt=2, reset=True, text="나0@7 "),
            Entry(at=9, page=1, what="text", request="r", attempt=2, text="나1@7 나2@7 나3@7 "),
            Entry(at=10, page=1, what="ended", request="r", code="succeeded"),
        ]
        first = Attempt(number=1, worker="a", began=2, ended=7, outcome="lost")
        second = Attempt(number=2, worker="b", began=7, ended=10, outcome="succeeded")
        self.row = Row(
            request="r", owner="o", key="k", question=WORDS, status="succeeded", attempt=2, losses=1, created=1,
            ended=10, deadline=300, answers=(whole_text(WORDS, 7),), attempts=(first, second),
        )  # fmt: skip
        self.calls = [
            Call(number=5, request="r", began=2.1, ended=6, sent=2),
            Call(number=7, request="r", began=7.1, ended=10, sent=4, whole=True),
        ]
        self.more_rows: list[Row] = []
        self.anomalies: list[Anomaly] = []

    def judged(self) -> Verdict:
        rows = [self.row, *self.more_rows]
        return check(self.entries, Evidence(NOW, rows, self.calls, self.anomalies))

    def found(self) -> set[str]:
        return {finding.kind for finding in self.judged().findings}

    def say(self, **facts: object) -> None:
        self.entries.append(Entry(at=11, page=1, **facts))  # type: ignore[arg-type]


@pytest.fixture
def story() -> Story:
    """Return a sound story."""
    return Story()


def test_sound_history_is_clean_and_counted(story: Story) -> None:
    verdict = story.judged()
    assert verdict.is_clean
    assert (verdict.accepted, verdict.succeeded, verdict.calls, verdict.extra_calls) == (1, 1, 2, 1)
    assert set(verdict.counts) == set(ZERO)


def test_checker_reports_a_missing_row_as_lost(story: Story) -> None:
    story.say(what="accepted", key="k2", request="r2")
    assert story.found() == {"lost"}


def test_checker_reports_a_missing_answer_as_lost(story: Story) -> None:
    story.row = replace(story.row, answers=())
    assert story.found() == {"lost"}


@pytest.mark.parametrize("status", ["queued", "running"])
def test_checker_reports_unfinished_request_as_stuck(story: Story, status: str) -> None:
    story.row = replace(story.row, status=status, ended=None, answers=())
    assert story.found() == {"stuck"}


def test_checker_reports_an_uninjected_failure(story: Story) -> None:
    story.row = replace(story.row, status="failed", code="worker_lost")
    assert story.found() == {"unfounded"}


def test_checker_excuses_a_broken_stream_only_when_injected(story: Story) -> None:
    story.row = replace(story.row, status="failed", code="stream_broken")
    assert story.found() == {"unfounded"}
    evidence = Evidence(NOW, [story.row], story.calls, [])
    assert check(story.entries, evidence, provider_struck=True).is_clean
    evidence.rows = [replace(story.row, code="worker_lost")]
    assert not check(story.entries, evidence, provider_struck=True).is_clean


def test_questions_with_permanent_faults_may_fail() -> None:
    assert may_fail("[[sim: fault=401]] x")
    assert may_fail("[[sim: fault=500]] x")
    assert may_fail("[[sim: tokens=4]] poison")
    assert not may_fail("[[sim: fault=500 times=1]] x")
    assert not may_fail(WORDS)


def test_checker_reports_two_answers_of_a_request(story: Story) -> None:
    story.row = replace(story.row, answers=story.row.answers * 2)
    assert story.found() == {"doubled"}


def test_checker_reports_two_requests_of_a_key(story: Story) -> None:
    story.more_rows = [replace(story.row, request="r2", answers=("나0@9 나1@9 나2@9 나3@9 ",))]
    story.calls.append(Call(number=9, request="r2", began=7.2))
    assert story.found() == {"doubled"}


@pytest.mark.parametrize(
    "answer",
    [
        "나0@7 나1@7 나2@7 ",  # cut
        "나0@5 나1@5 나2@7 나3@7 ",  # spliced from two attempts
        "나0@7 나1@7 나1@7 나2@7 나3@7 ",  # a word twice
        "나0@7 나2@7 나3@7 ",  # a missing word
        "나0@9 나1@9 나2@9 나3@9 ",  # another request's
        "",
    ],
)
def test_checker_reports_an_answer_of_mixed_calls(story: Story, answer: str) -> None:
    story.row = replace(story.row, answers=(answer,))
    assert "wrong" in story.found()


def test_checker_accepts_only_a_prefix_as_a_stopped_answer(story: Story) -> None:
    story.row = replace(story.row, status="cancelled", answers=("나0@7 나1",))
    assert story.found() == set()
    story.row = replace(story.row, answers=("나0@7 나2",))
    assert story.found() == {"wrong"}


def test_checker_finds_an_answer_of_a_lost_attempt(story: Story) -> None:
    story.row = replace(story.row, answers=(whole_text(WORDS, 5),))
    assert story.found() == {"stale"}


def test_checker_reports_trigger_anomaly_as_stale(story: Story) -> None:
    story.anomalies = [Anomaly("an ended request changed", "r")]
    assert story.found() == {"stale"}


def test_checker_reports_words_after_the_end(story: Story) -> None:
    story.say(what="text", request="r", attempt=2, reset=True, text="나0@7 ")
    assert story.found() == {"after_stop"}


def test_checker_reports_a_success_after_an_acknowledged_stop(story: Story) -> None:
    story.say(what="stopping", request="r", code="stopping")
    assert story.found() == {"after_stop"}


def test_checker_reports_a_call_after_an_acknowledged_stop(story: Story) -> None:
    story.row = replace(story.row, status="cancelled", answers=("",), ended=6.5, attempts=())
    story.say(what="stopping", request="r", code="cancelled")
    assert story.found() == {"after_stop"}


def test_checker_ignores_a_call_closed_before_its_first_word(story: Story) -> None:
    story.row = replace(story.row, status="cancelled", answers=("",), ended=6.5, attempts=())
    story.calls[1].sent, story.calls[1].whole = 0, False
    story.entries = story.entries[:3]
    story.say(what="stopping", request="r", code="cancelled")
    assert story.found() == set()


def test_checker_accepts_a_late_stop(story: Story) -> None:
    story.say(what="stopping", request="r", code="succeeded")
    assert story.found() == set()


@pytest.mark.parametrize("text", ["나0@5 나1@7 ", "나1@5 ", "나0@5 나0@5 ", "Error 500"])
def test_checker_reports_a_screen_with_mixed_attempts(story: Story, text: str) -> None:
    story.entries[2] = replace(story.entries[2], text=text)
    assert story.found() == {"not_prefix"}


def test_checker_reports_text_of_two_attempts(story: Story) -> None:
    story.entries[3] = replace(story.entries[3], reset=False)
    assert story.found() == {"not_prefix"}


def test_checker_finds_an_answer_to_a_refused_question(story: Story) -> None:
    story.entries[1] = Entry(at=2, page=1, what="refused", key="k", code="unavailable")
    story.say(what="gave_up", key="k")
    assert story.found() == {"phantom"}


def test_checker_accepts_an_answer_to_an_unconfirmed_question(story: Story) -> None:
    story.entries[1] = Entry(at=2, page=1, what="unknown", key="k")
    story.say(what="gave_up", key="k")
    assert story.found() == set()


def test_checker_reports_unbounded_calls_and_losses(story: Story) -> None:
    story.row = replace(story.row, losses=4)
    assert story.found() == {"unbounded"}
    story.row = replace(story.row, losses=1)
    story.calls += [Call(number=20 + n, request="r", began=3) for n in range(20)]
    assert story.found() == {"unbounded"}
