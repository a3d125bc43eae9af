"""Tests of an owner's limits: a refusal gives its reason and stores nothing, and ends when there is room again."""

from __future__ import annotations

from uuid import uuid4

import pytest

from shared import lifecycle
from shared.errors import OwnerTooFast, StillRunning, TooManyActive
from shared.lifecycle import OwnerLimits, Submitted
from tests.shared.rig import OWNER, STRANGER, RequestRig
from tests.shared.together import together

TWO_ACTIVE = OwnerLimits(active=2)
TWO_A_MINUTE = OwnerLimits(per_minute=2)


def test_owner_has_no_more_active_questions_than_the_limit(rig: RequestRig) -> None:
    first = rig.ask(limits=TWO_ACTIVE)
    rig.ask(limits=TWO_ACTIVE)
    before = rig.stored()
    with pytest.raises(TooManyActive) as refused:
        rig.ask(limits=TWO_ACTIVE)
    assert refused.value.limit == 2
    assert rig.stored() == before, "not even an empty conversation is stored"
    assert rig.ask(owner=STRANGER, limits=TWO_ACTIVE).is_new, "another owner is not limited"
    lifecycle.stop(rig.engine, first.request_id, owner=OWNER)
    assert rig.ask(limits=TWO_ACTIVE).is_new


def test_running_question_counts_as_active(rig: RequestRig) -> None:
    rig.running()
    rig.ask(limits=TWO_ACTIVE)
    with pytest.raises(TooManyActive):
        rig.ask(limits=TWO_ACTIVE)


def test_fast_owner_is_told_when_to_send_again(rig: RequestRig) -> None:
    rig.answered()
    request_id = rig.answered()
    before = rig.stored()
    with pytest.raises(OwnerTooFast) as refused:
        rig.ask(limits=TWO_A_MINUTE)
    assert refused.value.limit == 2
    assert 1 <= refused.value.seconds <= 60
    assert rig.stored() == before
    rig.put(request_id, created_at=rig.ago(40))
    with pytest.raises(OwnerTooFast) as refused:
        rig.ask(limits=TWO_A_MINUTE)
    assert 1 <= refused.value.seconds <= 20
    rig.put(request_id, created_at=rig.ago(61))
    assert rig.ask(limits=TWO_A_MINUTE).is_new


def test_existing_conversation_is_limited_too(rig: RequestRig) -> None:
    conversation_id = uuid4()
    rig.answered(conversation_id=conversation_id)
    rig.answered(conversation_id=conversation_id)
    before = rig.stored()
    with pytest.raises(OwnerTooFast):
        rig.ask(conversation_id=conversation_id, limits=TWO_A_MINUTE)
    assert rig.stored() == before


def test_regenerating_is_limited_too(rig: RequestRig) -> None:
    conversation_id = uuid4()
    rig.answered(conversation_id=conversation_id)
    rig.answered()
    before = rig.stored()
    with pytest.raises(OwnerTooFast):
        rig.ask(conversation_id=conversation_id, regenerate=True, limits=TWO_A_MINUTE)
    assert rig.stored() == before


def test_same_key_finds_its_request_at_the_limit(rig: RequestRig) -> None:
    rig.ask(limits=TWO_ACTIVE)
    stored = rig.ask(key="k", limits=TWO_ACTIVE)
    again = rig.ask(key="k", limits=TWO_ACTIVE)
    assert (again.request_id, again.is_new) == (stored.request_id, False)


def test_busy_conversation_is_reported_before_a_limit(rig: RequestRig) -> None:
    stored = rig.ask(limits=OwnerLimits(active=1))
    with pytest.raises(StillRunning):
        rig.ask(conversation_id=stored.conversation_id, limits=OwnerLimits(active=1))


def test_zero_disables_the_limit(rig: RequestRig) -> None:
    for _ in range(40):
        assert rig.ask(limits=OwnerLimits(active=0, per_minute=0)).is_new


def test_concurrent_questions_exceed_the_limit_boundedly(rig: RequestRig) -> None:
    rig.ask(limits=TWO_ACTIVE)
    results = together(*[lambda: rig.ask(limits=TWO_ACTIVE)] * 6)
    stored = [each for each in results if isinstance(each, Submitted)]
    assert len(stored) >= 1
    assert all(isinstance(each, Submitted | TooManyActive) for each in results), results
    with pytest.raises(TooManyActive):
        rig.ask(limits=TWO_ACTIVE)
