"""Tests of notices: they are sent after the commit, together, over a connection of their own."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import ProgrammingError

from shared import lifecycle
from shared.errors import Unavailable
from shared.lifecycle import Answer
from shared.postgres import notify
from shared.postgres.database import make_engine, make_listening_engine, ping, statement, transaction
from shared.postgres.notices import AT_ONCE, NoticeSender
from shared.settings import Settings, load_settings
from tests.shared.listening import Listener
from tests.shared.rig import RequestRig
from tests.stack import free_port, wait_until


def notice(channel: str = notify.REQUEST) -> notify.Notice:
    return notify.Notice(channel, uuid4(), uuid4())


def fail_after_noting(rig: RequestRig, due: notify.Notice) -> None:
    with transaction(rig.engine) as connection:
        notify.after_commit(connection, due.channel, due.request_id, due.conversation_id)
        connection.execute(text("nonsense"))


def test_notices_come_from_a_connection_of_their_own(rig: RequestRig) -> None:
    """No transaction of a question or an answer takes NOTIFY's lock, which lets one commit through at a time."""
    senders: set[int] = set()
    with Listener(rig.engine, notify.REQUEST) as asked, Listener(rig.engine, notify.ENDED) as ended:
        claimed = rig.running()
        assert asked.next()
        lifecycle.finish(rig.engine, claimed, Answer(text="Because."))
        assert ended.next()
        senders |= {asked.sender, ended.sender}
    with rig.begin() as connection:
        name = text("SELECT application_name FROM pg_stat_activity WHERE pid = ANY(:pids)")
        assert connection.execute(name, {"pids": list(senders)}).scalars().all() == ["test-notices"]


def test_notice_of_an_undone_transaction_is_not_sent(rig: RequestRig) -> None:
    undone, done = notice(), notice()
    with Listener(rig.engine, notify.REQUEST) as listener:
        with pytest.raises(ProgrammingError):
            fail_after_noting(rig, undone)
        for way in (transaction, statement):
            with way(rig.engine) as connection:
                notify.after_commit(connection, done.channel, done.request_id, done.conversation_id)
            assert listener.next() == done
        assert listener.silent()


def test_notice_follows_its_commit(rig: RequestRig) -> None:
    def stored(request_id: UUID) -> bool:
        with rig.begin() as other:
            return bool(other.execute(text("SELECT 1 FROM chat_request WHERE id = :id"), {"id": request_id}).scalar())

    with Listener(rig.engine, notify.REQUEST) as listener:
        for _ in range(50):
            rig.ask()
            heard = listener.next()
            assert heard
            assert stored(heard.request_id)


def test_sender_reconnects_after_its_connection_broke(rig: RequestRig) -> None:
    with Listener(rig.engine, notify.REQUEST) as listener:
        rig.ask()
        assert listener.next()
        rig.scalar(f"SELECT pg_terminate_backend({listener.sender})")
        asked = rig.ask()
        heard = listener.next()
        assert heard
        assert heard.request_id == asked.request_id


def test_many_notices_share_a_transaction(rig: RequestRig, rig_settings: Settings) -> None:
    sent: list[Any] = []

    def make_own() -> Any:
        own = make_listening_engine(rig_settings, name="own")
        event.listen(own, "before_cursor_execute", lambda *given: sent.append(given[2]))
        return own

    sender, made = NoticeSender(make_own), [notice() for _ in range(AT_ONCE)]
    with Listener(rig.engine, notify.REQUEST) as listener:
        sender.send(made)
        assert [listener.next() for _ in made] == made
    sender.close()
    assert len(sent) == 1


def is_gone(rig: RequestRig) -> bool:
    own = text("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'closing-notices'")
    with rig.begin() as connection:
        return bool(connection.execute(own).scalar_one())


def test_closed_engine_sends_what_waits_and_disconnects(rig: RequestRig, rig_settings: Settings) -> None:
    engine = make_engine(rig_settings, name="closing")
    with Listener(rig.engine, notify.REQUEST) as listener:
        for _ in range(2):  # an engine may be used again after its disposal
            asked = RequestRig(engine).ask()
            engine.dispose()
            heard = listener.next()
            assert heard
            assert heard.request_id == asked.request_id
            wait_until(partial(is_gone, rig), seconds=5, what="Postgres has ended the connection")


def test_notices_without_postgres_block_nobody(rig_settings: Settings) -> None:
    gone = load_settings({"DATABASE_URL": f"postgresql://x:y@127.0.0.1:{free_port()}/z"})
    sender = NoticeSender(lambda: make_listening_engine(gone, name="gone"))
    for _ in range(30):
        sender.send([notice() for _ in range(AT_ONCE)])
    sender.close()
    with pytest.raises(Unavailable):
        ping(make_engine(gone, name="gone"))
