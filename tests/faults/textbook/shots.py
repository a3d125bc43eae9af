"""The faults 1, 4, 8, 10 and 12 on the textbook's chat: `python -m tests.faults.textbook.shots FAULT SEED INDEX …`.

A request is lost when its result is not there 60 s after the fault (the broker gives it to somebody else after an hour
at the earliest), doubled when the provider was called to the end twice, wrong when the result, or the text that the
page showed, is not that of exactly one call.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis import Redis

from tests.bench.stacks import DurableServers
from tests.faults.checker import ZERO, whole_text
from tests.faults.evidence import Call, Calls
from tests.stack import Process, Stack, wait_until

PATIENCE_SECONDS = 60.0
APP = ("-m", "celery", "-A", "tests.faults.textbook.app", "--quiet")
WORKER = (*APP, "worker", "--pool=threads", "--concurrency=32", "--loglevel=WARNING")


@dataclass
class Chat:
    """The textbook's processes, and the people on them."""

    stack: Stack
    rng: random.Random
    workers: list[Process] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    exits: int = 0
    refused: int = 0

    def start_worker(self) -> None:
        """One more."""
        self.workers.append(self.stack.run("worker", *WORKER))

    def wait_for_workers(self) -> None:
        """Until all read hints."""
        with self.stack.redis_client() as client:
            wait_until(lambda: readers(client) >= len(self.workers), seconds=150, what="the textbook's workers read")

    def tend(self) -> None:
        """Start again what ended by itself."""
        for worker in list(self.workers):
            if not worker.running:
                self.exits += 1
                self.workers.remove(worker)
                self.start_worker()

    def kill(self, worker: Process) -> None:
        """kill -9, and another one."""
        worker.kill()
        self.workers.remove(worker)
        self.start_worker()

    def ask(self, number: int, *, tokens: int) -> list[str]:
        """So many questions; those that were accepted."""
        from tests.faults.textbook import app  # noqa: PLC0415 - it reads the settings when it is imported

        def one() -> str | None:
            request = str(uuid4())
            words = f"[[sim: emit=call tokens={tokens} pace=30 first=0.1]] question {self.rng.getrandbits(48):x}?"
            try:
                app.ask(request, words)
            except Exception:  # noqa: BLE001 - whatever it is, the person is told that it did not work
                self.refused += 1
                return None
            self.asked[request] = words
            return request

        with ThreadPoolExecutor(8) as threads:
            return [each for each in threads.map(lambda _: one(), range(number)) if each]

    def see_text(self, requests: Sequence[str]) -> None:
        """Until the first words of each are there."""
        with self.stack.redis_client() as client:
            for request in requests:
                wait_until(lambda key=f"chat:{request}": client.llen(key), seconds=30, what="words")  # type: ignore[misc]


def readers(client: Redis) -> int:
    """How many connections wait for hints."""
    return sum(each["cmd"] == "brpop" for each in client.client_list())


def killed(chat: Chat) -> None:
    """1: kill -9 in mid-answer."""
    chat.see_text(chat.ask(6, tokens=90))
    chat.kill(chat.workers[0])


def brpop_window(chat: Chat) -> None:
    """4: the message is out of Redis, and nobody has recorded it."""
    for worker in chat.workers:
        worker.freeze()
    chat.ask(3, tokens=20)
    time.sleep(0.3)
    for worker in list(chat.workers):
        chat.kill(worker)


def redis_killed(chat: Chat) -> None:
    """8: kill -9, 4 s away; empty in half of the shots."""
    chat.see_text(chat.ask(5, tokens=200))
    chat.stack.servers.redis.kill()
    chat.ask(3, tokens=20)
    time.sleep(4)
    if chat.rng.random() < 0.5:
        shutil.rmtree(chat.stack.servers.redis_server.data / "appendonlydir", ignore_errors=True)
    chat.stack.servers.start_redis()


def flushed(chat: Chat) -> None:
    """10: FLUSHALL with answers under way and questions waiting."""
    chat.see_text(chat.ask(6, tokens=150))
    for _ in range(3):
        with chat.stack.redis_client() as client:
            client.flushall()
        chat.ask(2, tokens=10)
        time.sleep(1)


def reset(chat: Chat) -> None:
    """12: every connection is reset."""
    chat.see_text(chat.ask(6, tokens=150))
    with chat.stack.redis_client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal")
    chat.ask(2, tokens=20)


FAULTS: dict[int, Callable[[Chat], None]] = {1: killed, 4: brpop_window, 8: redis_killed, 10: flushed, 12: reset}


def shoot(stack: Stack, *, fault: int, seed: int, index: int) -> dict[str, Any]:
    """One shot on new processes and an empty Redis; its result."""
    began = time.monotonic()
    with stack.redis_client() as client:
        client.flushall()
    chat = Chat(stack, random.Random(f"{seed}:textbook:{fault}:{index}"))
    for _ in range(2):
        chat.start_worker()
    chat.wait_for_workers()
    FAULTS[fault](chat)
    found = Counter(result_of(chat, request) for request in chat.asked)
    calls = Calls(stack.calls_log).of(chat.asked)
    judge(found, chat, calls)
    for worker in chat.workers:
        worker.kill()
    return {
        "fault": f"{fault} textbook",
        "name": "the same on a textbook Celery chat",
        "seed": seed,
        "index": index,
        "accepted": len(chat.asked),
        "succeeded": found["answered"],
        "refused": chat.refused,
        "extra_calls": max(0, len(calls) - len({call.request for call in calls})),
        "counts": dict.fromkeys(ZERO, 0) | {kind: found[kind] for kind in ("lost", "doubled", "wrong", "not_prefix")},
        "findings": [],
        "recovery": [],
        "figures": {},
        "exits": {"worker": chat.exits} if chat.exits else {},
        "seconds": round(time.monotonic() - began, 1),
    }


_limits: dict[int, float] = {}


def result_of(chat: Chat, request: str) -> str:
    """`answered`, `wrong`, or `lost`."""
    from tests.faults.textbook import app  # noqa: PLC0415 - as above

    limit = _limits.setdefault(id(chat), time.monotonic() + PATIENCE_SECONDS)
    while time.monotonic() < limit:
        chat.tend()
        with suppress(Exception):
            result = app.answer.AsyncResult(request)
            if result.successful():
                call = str(result.result).partition("@")[2].partition(" ")[0]
                whole = call.isdigit() and result.result == whole_text(chat.asked[request], int(call))
                return "answered" if whole else "wrong"
            if result.failed():
                return "lost"
        time.sleep(0.1)
    return "lost"


def judge(found: Counter[str], chat: Chat, calls: list[Call]) -> None:
    """Add what the provider's log and the page's text say."""
    ended = Counter(call.request for call in calls if call.whole)
    found["doubled"] = sum(number > 1 for number in ended.values())
    with chat.stack.redis_client() as client:
        for request, words in chat.asked.items():
            shown = "".join(client.lrange(f"chat:{request}", 0, -1))
            mine = [call.number for call in calls if call.request == request]
            found["not_prefix"] += bool(shown) and not any(whole_text(words, call).startswith(shown) for call in mine)


def main(arguments: Sequence[str]) -> int:
    """`shots FAULT SEED INDEX …`: a JSON line per shot on stdout."""
    fault, seed, *indices = map(int, arguments)
    with tempfile.TemporaryDirectory(prefix="naru-textbook-", ignore_cleanup_errors=True) as folder:
        servers = DurableServers(Path(folder))
        stack = Stack(Path(folder) / "logs", servers.postgres_server.url, servers.redis_server.url_of(0), servers)
        try:
            stack.start_simulator()
            os.environ.update(stack.environ())
            for index in indices:
                print(json.dumps(shoot(stack, fault=fault, seed=seed, index=index)), flush=True)
        finally:
            stack.close()
            servers.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
