"""Tests of erasing one owner: everything of theirs goes at once, running answers too, and nothing of others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from shared import lifecycle
from shared.errors import NotFound
from shared.lifecycle import Answer
from shared.people import Owner
from shared.postgres.database import make_plain_engine
from shared.retention import Holdings, erase, erasure, holdings_of
from shared.settings import Settings
from shared.spending.limits import set_limits
from shared.spending.values import Limits, Spent
from shared.tables import chat_request, conversation, message, quota, request_attempt, spending
from tests.shared.rig import OWNER, STRANGER, RequestRig
from tests.stack import wait_until


@pytest.fixture
def plain(rig_settings: Settings) -> Engine:
    """Return an engine as the command uses it."""
    return make_plain_engine(rig_settings.database_url)


def test_erase_removes_all_of_one_owner_and_nothing_else(rig: RequestRig, plain: Engine) -> None:
    for _ in range(3):
        rig.answered()
    kept = rig.ask(owner=STRANGER).conversation_id
    assert holdings_of(plain, OWNER) == Holdings(conversations=3, messages=6, requests=3, active=0)
    gone = erase(plain, OWNER, stop_patience_seconds=0.1)
    assert gone == {"conversation": 3, "message": 6, "request": 3, "attempt": 3}
    assert holdings_of(plain, OWNER) == Holdings(0, 0, 0, 0)
    assert [row["id"] for row in rig.rows(conversation)] == [kept]
    assert (rig.count(message), rig.count(chat_request), rig.count(request_attempt)) == (1, 1, 0)


def test_erase_forgets_limits_and_what_was_used(rig: RequestRig, plain: Engine) -> None:
    for owner in (OWNER, STRANGER):
        claimed = rig.claim(rig.ask(owner=owner).request_id, rig.worker())
        lifecycle.finish(rig.engine, claimed, Answer(text="", spent=Spent(input_tokens=1)))
        with rig.begin() as connection:
            set_limits(connection, owner.key, Limits(tokens_per_day=5))
    assert erase(plain, OWNER, stop_patience_seconds=0.1)["spending"] == 1
    assert [row["owner_id"] for row in rig.rows(spending)] == [STRANGER.key]
    assert [row["subject"] for row in rig.rows(quota)] == [STRANGER.key]


def test_erase_takes_deleted_conversations_too(rig: RequestRig, plain: Engine) -> None:
    rig.answered()
    with rig.begin() as connection:
        connection.execute(conversation.update().values(deleted_at=rig.ago(1)))
    assert holdings_of(plain, OWNER).conversations == 1
    assert erase(plain, OWNER, stop_patience_seconds=0.1)["conversation"] == 1


def test_erase_stops_waiting_and_running_answers(rig: RequestRig, plain: Engine) -> None:
    waiting, silent = rig.ask(), rig.running()
    assert holdings_of(plain, OWNER).active == 2
    erase(plain, OWNER, stop_patience_seconds=0.5)
    assert rig.stored() == (0, 0, 0)
    assert waiting.request_id != silent.request_id
    assert not lifecycle.finish(rig.engine, silent, Answer(text="late")), "its worker can store nothing any more"
    assert rig.stored() == (0, 0, 0)


def test_erase_lets_a_worker_stop_by_itself(rig: RequestRig, plain: Engine) -> None:
    claimed = rig.running()
    with ThreadPoolExecutor(1) as thread:
        erasing = thread.submit(erase, plain, OWNER, stop_patience_seconds=3600)
        wait_until(lambda: rig.row(claimed.request_id)["stop_requested_at"])
        assert lifecycle.cancel(rig.engine, claimed, Answer(text="so far"))
        assert erasing.result(timeout=60)["conversation"] == 1
    assert rig.stored() == (0, 0, 0)


def test_erase_waits_until_a_call_is_cancelled(rig: RequestRig, plain: Engine) -> None:
    claimed = rig.running()
    with ThreadPoolExecutor(1) as thread:
        erasing = thread.submit(erase, plain, OWNER, stop_patience_seconds=3600)
        wait_until(lambda: rig.row(claimed.request_id)["stop_requested_at"])
        assert lifecycle.cancel(rig.engine, claimed, Answer(text="", call_id="resp_1"))
        with pytest.raises(TimeoutError):
            erasing.result(timeout=4 * erasure.LOOK_SECONDS)
        assert rig.row(claimed.request_id)["call_id"] == "resp_1"
        lifecycle.forget_call(rig.engine, claimed.request_id, "resp_1")
        assert erasing.result(timeout=60)["conversation"] == 1
    assert rig.stored() == (0, 0, 0)


def test_erase_goes_on_without_a_worker_that_cancels(
    rig: RequestRig, plain: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "CALLS_SECONDS", 1.0)
    claimed = rig.running()
    assert lifecycle.fail(rig.engine, claimed, Answer(text="", call_id="resp_1"), code="total_timeout")
    assert erase(plain, OWNER, stop_patience_seconds=0.1)["conversation"] == 1


def test_erase_takes_long_conversations_in_slices(rig: RequestRig, plain: Engine) -> None:
    rig.lengthen(rig.row(rig.answered())["conversation_id"], 1200)
    assert erase(plain, OWNER, stop_patience_seconds=0.1)["message"] == 1202


def test_erase_also_takes_what_is_asked_meanwhile(rig: RequestRig, plain: Engine) -> None:
    claimed = rig.running()
    with ThreadPoolExecutor(1) as thread:
        erasing = thread.submit(erase, plain, OWNER, stop_patience_seconds=3600)
        wait_until(lambda: rig.row(claimed.request_id)["stop_requested_at"])
        with pytest.raises(NotFound):
            rig.ask(conversation_id=claimed.conversation_id)
        rig.ask("And in a new conversation?")
        assert lifecycle.cancel(rig.engine, claimed, Answer(text=""))
        assert erasing.result(timeout=60)["conversation"] == 2
    assert rig.stored() == (0, 0, 0)


def test_erase_of_an_unknown_owner_removes_nothing(rig: RequestRig, plain: Engine) -> None:
    rig.answered()
    assert not erase(plain, Owner.terminal(), stop_patience_seconds=0.1)
    assert rig.stored() == (1, 2, 1)
