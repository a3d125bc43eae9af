"""A web process removes what should be gone, and shows it in its metrics."""

from __future__ import annotations

from sqlalchemy import Engine, select, update

from shared.tables import conversation
from tests.shared.rig import RequestRig
from tests.stack import Stack, get, wait_until


def test_web_removes_deleted_conversations(stack: Stack, engine: Engine) -> None:
    rig = RequestRig(engine)
    kept, gone = (rig.row(rig.answered())["conversation_id"] for _ in range(2))
    stack.configure(purge_seconds=0.2, keep_deleted_days=1)
    web = stack.start_web()
    assert value("naru_purge_overdue_seconds", web.url) == 0
    with rig.begin() as connection:
        deleted = update(conversation).where(conversation.c.id == gone).values(deleted_at=rig.ago(2 * 86_400))
        connection.execute(deleted)
    wait_until(lambda: value('naru_purged_rows_total{kind="conversation"}', web.url) == 1)
    with rig.begin() as connection:
        assert connection.execute(select(conversation.c.id)).scalars().all() == [kept]
    assert value('naru_purged_rows_total{kind="message"}', web.url) == 2
    assert value("naru_purge_overdue_seconds", web.url) == 0


def value(name: str, url: str) -> float:
    """Return the value of a metric of this web process."""
    _, text = get(f"{url}/metrics")
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[-1])
