"""Tests of checkpoints: each text that grew is written, in slices; others are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from shared import fleet
from shared.settings import Settings
from workers.process import checkpoints as checkpoints_module
from workers.process.checkpoints import GROWTH, LONGEST_PAUSE, SLICE_CHARACTERS, Checkpoints
from workers.process.context import Context

WORKER = uuid4()
Texts = dict[tuple[UUID, int], str]


class Live:
    """The part of a live answer that a checkpoint reads."""

    def __init__(self, text: str) -> None:
        self.words = text

    @property
    def length(self) -> int:
        return len(self.words)

    def text(self) -> str:
        return self.words


def answer(text: str, *, worker_id: UUID = WORKER) -> Any:
    claimed = SimpleNamespace(request_id=uuid4(), attempt=1, worker_id=worker_id)
    return SimpleNamespace(claimed=claimed, live=Live(text))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Texts]:
    """Return the texts passed to each statement; tests/shared/test_fleet.py tests the statement itself."""
    slices: list[Texts] = []
    monkeypatch.setattr(fleet, "checkpoint", lambda _connection, _worker, texts: slices.append(dict(texts)))
    return slices


def checkpoints_of(answers: list[Any], *, healthy: bool = True) -> Checkpoints:
    context = SimpleNamespace(
        settings=Settings(),
        running=SimpleNamespace(answers=lambda: answers),
        publisher=SimpleNamespace(healthy=healthy),
    )
    return Checkpoints(cast("Context", context))


def write(checkpoints: Checkpoints) -> None:
    checkpoints.write(cast("Any", None), WORKER)


def test_checkpoints_write_each_text_once_in_slices(written: list[Texts]) -> None:
    answers = [answer("x" * (SLICE_CHARACTERS // 3 + 1)) for _ in range(8)]
    checkpoints = checkpoints_of(answers)
    for _ in range(3):
        write(checkpoints)
    assert [len(texts) for texts in written] == [3, 3, 2]
    assert len({key for texts in written for key in texts}) == 8
    answers[0].live.words *= 2
    write(checkpoints)
    assert list(written[-1].values()) == [answers[0].live.words], "only the text that grew"


def test_checkpoints_write_the_next_slice_before_the_next_turn(written: list[Texts]) -> None:
    checkpoints = checkpoints_of([answer("short"), answer("x" * SLICE_CHARACTERS)])
    write(checkpoints)
    soon = checkpoints.due_at
    write(checkpoints)
    assert checkpoints.due_at - soon > 4
    assert len(written) == 2


def test_checkpoints_hurry_shortens_the_wait(written: list[Texts]) -> None:
    checkpoints = checkpoints_of([answer("text")])
    write(checkpoints)
    later = checkpoints.due_at
    checkpoints.hurry()
    assert later - checkpoints.due_at == pytest.approx(4)
    assert len(written) == 1


def test_checkpoints_skip_answers_of_other_members(written: list[Texts]) -> None:
    write(checkpoints_of([answer("text", worker_id=uuid4())]))
    assert written == [{}]


@pytest.mark.parametrize("pace", [20, 200, 5000])
def test_writes_of_a_growing_answer_stay_bounded(
    written: list[Texts], monkeypatch: pytest.MonkeyPatch, pace: int
) -> None:
    """A long text is written less often, and never lags by more than the pause that it may take."""
    now, growing = [1000.0], answer("")
    monkeypatch.setattr(checkpoints_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    checkpoints, seconds = checkpoints_of([growing]), 600
    longest = (LONGEST_PAUSE + 1) * Settings().checkpoint_seconds
    for _ in range(seconds):
        growing.live.words += "x" * pace
        now[0] += 1.0
        if now[0] >= checkpoints.due_at:
            write(checkpoints)
        stored = max((len(text) for texts in written for text in texts.values()), default=0)
        assert growing.live.length - stored <= longest * pace
    total = sum(len(text) for texts in written for text in texts.values())
    bound = (1 + 1 / GROWTH) + seconds / (LONGEST_PAUSE * Settings().checkpoint_seconds)
    assert total <= bound * growing.live.length


def test_checkpoints_write_every_text_while_redis_fails(written: list[Texts], monkeypatch: pytest.MonkeyPatch) -> None:
    now, growing = [1000.0], answer("x" * 1000)
    monkeypatch.setattr(checkpoints_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    checkpoints = checkpoints_of([growing], healthy=False)
    for _ in range(5):
        growing.live.words += "y"
        now[0] = max(now[0], checkpoints.due_at)
        write(checkpoints)
    assert len(written) == 5
    assert all(written), "the page shows checkpoints only"
