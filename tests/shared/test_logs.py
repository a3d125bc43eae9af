"""Tests of the log: one JSON object per line, with the ids of the current work and no conversation text."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from shared.logs import JsonFormatter, bound, configure
from shared.tables import message
from tests.shared.rig import RequestRig

SECRET = "my-most-private-question"


class Lines(logging.Handler):
    """Keeps the formatted log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter("test"))
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(self.format(record))

    def last(self) -> dict[str, Any]:
        assert "\n" not in self.written[-1]
        found: dict[str, Any] = json.loads(self.written[-1])
        return found


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("naru-test")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)


log = logging.getLogger("naru-test")


def test_log_line_has_time_place_message_and_extra_fields(lines: Lines) -> None:
    log.warning("took %d s\nand\t나루", 3, extra={"model": "demo/echo", "seconds": 0.5, "id": object})
    line = lines.last()
    assert line.pop("time").endswith("Z")
    assert line.pop("id") == str(object)
    assert line == {
        "level": "WARNING",
        "part": "test",
        "logger": "naru-test",
        "message": "took 3 s\nand\t나루",
        "model": "demo/echo",
        "seconds": 0.5,
    }


def test_bound_ids_are_only_on_lines_within_the_block(lines: Lines) -> None:
    with bound(request_id=1):
        with bound(attempt=2, request_id=3):
            log.info("inner")
            assert {**lines.last(), "request_id": "3", "attempt": "2"} == lines.last()
        log.info("outer")
        assert lines.last()["request_id"] == "1"
        assert "attempt" not in lines.last()
    log.info("outside")
    assert "request_id" not in lines.last()


def test_bound_ids_are_removed_after_an_error(lines: Lines) -> None:
    with pytest.raises(ValueError, match="x"), bound(request_id=1):
        raise ValueError("x")
    log.info("outside")
    assert "request_id" not in lines.last()


def test_threads_and_tasks_have_their_own_ids(lines: Lines) -> None:
    async def task(name: str) -> None:
        with bound(request_id=name):
            for _ in range(5):
                log.info(name)
                await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(*[task(str(number)) for number in range(5)])

    with bound(request_id="outer"):
        asyncio.run(tasks())
        thread = threading.Thread(target=lambda: log.info("thread"))
        thread.start()
        thread.join()
    found = [json.loads(line) for line in lines.written]
    assert all(line["message"] == line["request_id"] for line in found[:-1])
    assert "request_id" not in found[-1], "a thread starts without ids"


def test_logged_error_has_its_traceback(lines: Lines) -> None:
    try:
        raise KeyError("k")
    except KeyError:
        log.exception("failed")
    assert "KeyError: 'k'" in lines.last()["traceback"]
    assert "test_logs.py" in lines.last()["traceback"]


def test_logged_sql_error_omits_parameters(rig: RequestRig, lines: Lines) -> None:
    submitted = rig.ask(SECRET)
    taken = rig.rows(message)[0]["id"]
    again = insert(message).values(id=taken, conversation_id=submitted.conversation_id, role="user", content=SECRET)
    with pytest.raises(DBAPIError) as failed, rig.begin() as connection:
        connection.execute(again)
    log.error("failed", exc_info=failed.value)
    assert SECRET not in lines.written[-1]
    assert "IntegrityError" in lines.last()["traceback"]


@pytest.fixture
def levels() -> Iterator[None]:
    """Restore the handlers and levels that `configure` changes."""
    root = logging.getLogger()
    ours = [logging.getLogger(name) for name in ("shared", "web", "workers", "deploy")]
    handlers, before = root.handlers[:], [(logger, logger.level) for logger in (root, *ours)]
    yield
    root.handlers[:] = handlers
    for logger, level in before:
        logger.setLevel(level)


def test_process_writes_json_to_stdout_with_its_part(capsys: pytest.CaptureFixture[str], levels: None) -> None:
    configure("warning", part="web")
    log.warning("heard")
    logging.getLogger("openai").info("a URL with a key")
    logging.getLogger("web.x").info("too quiet")
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["message"], json.loads(line)["part"]) == ("heard", "web")


def test_only_our_modules_log_at_debug(capsys: pytest.CaptureFixture[str], levels: None) -> None:
    configure("debug", part="web")
    logging.getLogger("web.watch.reader").debug("heard")
    for foreign in ("uvicorn.error", "websockets.server", "redis", "openai", "asyncio"):
        logging.getLogger(foreign).debug("a frame with a question in it")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "heard"


def test_log_omits_postgres_messages_about_a_row(rig: RequestRig) -> None:
    answered = rig.row(rig.answered())
    values = {"id": uuid4(), "conversation_id": answered["conversation_id"], "role": "bad", "content": SECRET}
    bad = insert(message).values(**values)
    with rig.engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(bad)
    assert SECRET in str(caught.value.orig)
    record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), (type(caught.value), caught.value, None))
    line = JsonFormatter("test").format(record)
    assert SECRET not in line
    assert "SQLSTATE 23514" in line
