"""A textbook's Celery chat (tests/faults/textbook) as a baseline: prefork, eight processes, the result polled.

Most tutorials use eight processes; each carries one answer. The page asks for the result every half second, so a person
sees nothing before the answer is complete.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from celery import Celery

from tests.bench import words
from tests.bench.figure import Numbers, p
from tests.bench.processes import pss_megabytes, tree, tree_cpu_seconds
from tests.bench.stacks import Running
from tests.stack import Process, wait_until

PROCESSES = 8
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 120.0
TOKENS = 100
WORKER = ("-m", "celery", "-A", "tests.faults.textbook.app", "--quiet", "worker", "--pool=prefork")


@dataclass
class Chat:
    """The running worker, and the page's side of the chat."""

    running: Running
    app: Celery
    worker: Process

    def answered(self, number: int, *, tokens: int) -> Numbers:
        """Ask `number` questions at once and poll for each; return the delay, the costs and the wrong texts."""
        asked = {str(uuid4()): words.clocked_question(tokens=tokens) for _ in range(number)}
        before = tree_cpu_seconds(self.worker.pid)
        with ThreadPoolExecutor(number) as threads:
            took = list(threads.map(self._one, asked.items()))
        cpu, journal = tree_cpu_seconds(self.worker.pid) - before, self.running.journal
        firsts = [journal.first_token_seconds(request_id) for request_id in asked]
        over = [seen * 1e3 - first * 1e3 for (seen, _), first in zip(took, firsts, strict=True)]
        wrong = sum(len(words.clocks(text)) != tokens for _, text in took)
        return {
            "over_p50": p(over, 50),
            "at_once": float(self._most_at_once(asked)),
            "ms_per_1000": cpu / (number * tokens) * 1e6,
            "mb": sum(pss_megabytes(pid) for pid in tree(self.worker.pid)),
            "wrong_texts": float(wrong),
        }

    def _one(self, question: tuple[str, str]) -> tuple[float, str]:
        """Return the seconds until the page has the text, and the text."""
        request_id, text = question
        began = time.perf_counter()
        result = self.app.send_task("answer", args=[request_id, text], task_id=request_id)
        while not result.ready():
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise AssertionError("the textbook's chat does not answer")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - began, str(result.result)

    def _most_at_once(self, asked: dict[str, str]) -> int:
        """Return the most calls that the provider had at once, from its log."""
        calls = [self.running.journal.calls(request_id)[-1] for request_id in asked]
        return int(max(sum(one["start"] <= each["start"] < one["end"] for one in calls) for each in calls))


@contextmanager
def textbook_chat(running: Running) -> Iterator[Chat]:
    """Start the chat and warm it up, while Naru's own processes are idle."""
    stack = running.stack
    worker = stack.run("textbook", *WORKER, f"--concurrency={PROCESSES}", "--loglevel=WARNING")
    app = Celery("textbook-page", broker=stack.redis_url, backend=stack.redis_url, set_as_current=False)
    try:
        wait_until(lambda: len(tree(worker.pid)) > PROCESSES, seconds=60, what="the textbook's processes run")
        chat = Chat(running, app, worker)
        chat.answered(2 * PROCESSES, tokens=10)
        yield chat
    finally:
        worker.kill()
        app.close()
