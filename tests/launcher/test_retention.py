"""Findings of `./naru doctor` about what is kept, and whether the purge is behind."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Engine, update

from deploy.cli.findings import Level
from deploy.cli.retention import kept
from shared.settings import Settings
from shared.tables import conversation
from tests.shared.rig import RequestRig
from tests.stack import free_port

DAY = 86_400


def test_doctor_says_how_long_rows_are_kept(settings: Settings) -> None:
    (found,) = kept(settings)
    assert found.level is Level.GOOD
    assert "no age limit; deleted ones: 30 days; idempotency keys: 7 days; workers that left: 1 day" in found.what
    (found,) = kept(dataclasses.replace(settings, keep_conversations_days=365, keep_deleted_days=0))
    assert "conversations: at most 365 days; deleted ones: not at all" in found.what


def test_doctor_reports_a_purge_that_is_behind(settings: Settings, engine: Engine) -> None:
    rig = RequestRig(engine)
    rig.answered()
    delete_all(rig, days_ago=30.9)
    (found,) = kept(settings)
    assert found.level is Level.GOOD
    delete_all(rig, days_ago=33.5)
    (found,) = kept(settings)
    assert found.level is Level.WRONG
    assert "deleted conversations that should be gone since 3 days" in found.what
    assert "#purgebehind" in found.to_do


def delete_all(rig: RequestRig, *, days_ago: float) -> None:
    with rig.begin() as connection:
        connection.execute(update(conversation).values(deleted_at=rig.ago(days_ago * DAY)))


def test_doctor_leaves_an_absent_server_to_its_own_check(settings: Settings) -> None:
    gone = dataclasses.replace(settings, database_url=f"postgresql://x:y@127.0.0.1:{free_port()}/z")
    assert list(kept(gone)) == []
