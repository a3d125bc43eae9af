"""Screenshots of every state of the page: `python -m tests.page.pictures OUT [STATE …]`.

Each state is produced once on a real stack (a busy worker, a killed worker, a failing provider) and captured at 390,
768 and 1440 px, light and dark, in Korean and English. The screenshots are for visual review; nothing is asserted.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from uuid import UUID, uuid4

from playwright.sync_api import Browser, StorageState, sync_playwright
from sqlalchemy import Engine, insert, select, update

from shared.migrations.__main__ import migrate
from shared.postgres.database import make_engine, transaction
from shared.tables import chat_request, conversation, message
from tests.page.chromium import launch
from tests.page.person import Person, visitor
from tests.patience import patient_ms
from tests.stack import SHORT_LEASES, Process, Servers, Stack, free_port

SIZES = ((390, 844), (768, 1024), (1440, 900))
SCHEMES = ("light", "dark")
LOCALES = ("en-US", "ko-KR")
SETTLE_MS = 900


@dataclass
class Studio:
    """The stack, page and browser to capture."""

    stack: Stack
    engine: Engine
    browser: Browser
    url: str
    out: Path
    person: Person
    worker: Process

    def shoot(self, state: str, address: str, *, ready: str, top: bool = False) -> None:
        """Capture each size, theme and language, as the same owner."""
        storage: StorageState = self.person.page.context.storage_state()
        for (width, height), scheme, locale in product(SIZES, SCHEMES, LOCALES):
            looks = {"viewport": {"width": width, "height": height}, "color_scheme": scheme, "locale": locale}
            with visitor(self.browser, self.url, storage_state=storage, **looks) as looker:
                looker.open(address)
                looker.page.locator(ready).first.wait_for(timeout=patient_ms(15))
                looker.page.wait_for_timeout(SETTLE_MS)
                if top:
                    looker.page.get_by_test_id("stMain").evaluate("main => main.scrollTo(0, 0)")
                name = f"{state}-{width}-{scheme}-{locale[:2]}.png"
                looker.page.screenshot(path=self.out / name)
                print(name, *looker.errors, flush=True)

    def conversation(self, question: str) -> str:
        """Ask in a new conversation; return its address."""
        self.person.open("/").ask(question)
        self.person.questions.first.wait_for()
        return self.person.page.url

    def stop(self, address: str) -> None:
        """Stop this answer."""
        self.person.open(address).page.locator(".naru-stop").click()
        self.person.page.locator(".naru-remark").first.wait_for()


def empty(studio: Studio) -> None:
    studio.shoot("empty", "/", ready=".st-key-empty")


def waiting(studio: Studio) -> None:
    """Capture thinking and queued: the worker has only one slot."""
    first = studio.conversation("[[sim: first=600]] How does a ferry find its way in fog?")
    second = studio.conversation("What is a landing stage?")
    third = studio.conversation("And how long does a crossing take?")
    studio.shoot("thinking", first, ready=".naru-status")
    studio.shoot("queued", third, ready=".naru-status")
    for address in (third, second, first):
        studio.stop(address)


def streaming(studio: Studio) -> None:
    address = studio.conversation("[[sim: tokens=1500 pace=6]] Show me code and a table, please")
    studio.person.wait_for_text(characters=500)
    studio.shoot("streaming", address, ready=".naru-growing")
    studio.stop(address)
    studio.shoot("stopped", address, ready=".naru-remark")


def ended(studio: Studio) -> None:
    address = studio.conversation("코드와 표를 보여 주세요. 그리고 수식도 하나 부탁합니다")
    studio.person.wait_for_end()
    studio.shoot("ended", address, ready=".naru-about")


def failed(studio: Studio) -> None:
    address = studio.conversation("[[sim: fault=quota]] Why is the sky blue?")
    studio.person.page.locator(".naru-failed").wait_for(timeout=patient_ms(15))
    studio.shoot("failed", address, ready=".naru-failed")
    address = studio.conversation("[[sim: fault=cut at=120]] Why is the sea salt?")
    studio.person.page.locator(".naru-failed").wait_for(timeout=patient_ms(30))
    studio.shoot("failed-partial", address, ready=".naru-failed")


def busy(studio: Studio) -> None:
    address = studio.conversation("[[sim: fault=429 retry_after=55]] Are you busy?")
    studio.shoot("provider-busy", address, ready=".naru-status")
    studio.stop(address)


def takeover(studio: Studio) -> None:
    """Kill the worker mid-answer: first there is no worker, then the next worker waits for a slow model."""
    address = studio.conversation("[[sim: fault=hang at=150]] Tell me about the river")
    studio.person.wait_for_text(characters=300)
    studio.worker.kill()
    studio.person.page.wait_for_timeout(5000)
    studio.shoot("no-worker", address, ready=".naru-status")
    port = str(free_port())
    studio.stack.run("simulator", "-m", "workers.simulator", "--port", port, "--first-token", "600")
    studio.person.page.wait_for_timeout(2500)
    studio.worker = studio.stack.start_worker(simulator_url=f"http://127.0.0.1:{port}")
    studio.shoot("takeover", address, ready=".naru-status")
    studio.stop(address)


def long(studio: Studio) -> None:
    """Capture a conversation of 500 messages."""
    with transaction(studio.engine) as connection:
        owner_id = connection.execute(select(conversation.c.owner_id).limit(1)).scalar_one()
    address = f"/?c={fill(studio.engine, owner_id=owner_id, messages=500)}"
    studio.shoot("500-messages", address, ready=".naru-about")
    studio.shoot("500-messages-top", address, ready=".naru-about", top=True)


def fill(engine: Engine, *, owner_id: str, messages: int) -> UUID:
    """Store a conversation of this many messages; every second one is an answer."""
    conversation_id, parent = uuid4(), None
    rows, requests = [], []
    for number in range(messages):
        is_answer = bool(number % 2)
        request_id = uuid4() if is_answer else None
        row = {
            "id": uuid4(),
            "conversation_id": conversation_id,
            "parent_id": parent,
            "role": "assistant" if is_answer else "user",
            "content": f"Answer **{number}** with `code`, a list:\n\n- one\n- two\n\nand a last line."
            if is_answer
            else f"Question {number}?",
            "request_id": request_id,
        }
        if is_answer:
            requests.append(
                {
                    "id": request_id,
                    "owner_id": owner_id,
                    "conversation_id": conversation_id,
                    "user_message_id": parent,
                    "idempotency_key": uuid4().hex,
                    "model": "demo/simulator",
                    "status": "succeeded",
                    "attempt": 1,
                    "finish": "stop",
                    "deadline_at": "2030-01-01T00:00:00Z",
                    "ended_at": "2025-01-01T00:00:00Z",
                }
            )
        parent = row["id"]
        rows.append(row)
    with transaction(engine) as connection:
        connection.execute(
            insert(conversation).values(id=conversation_id, owner_id=owner_id, title="A long conversation")
        )
        connection.execute(insert(message), rows)
        connection.execute(insert(chat_request), requests)
        connection.execute(
            update(conversation)
            .where(conversation.c.id == conversation_id)
            .values(leaf_id=parent, model="demo/simulator")
        )
    return conversation_id


STATES: dict[str, Callable[[Studio], None]] = {
    each.__name__: each for each in (empty, waiting, streaming, ended, failed, busy, long, takeover)
}


@contextmanager
def studio_at(out: Path) -> Iterator[Studio]:
    """Start servers, a simulator, a one-slot worker, web and a browser for the screenshots."""
    with tempfile.TemporaryDirectory(prefix="naru-pictures-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        servers = Servers(Path(folder))
        stack = None
        try:
            url = servers.postgres_server.url
            migrate(url)
            stack = Stack(Path(folder), url, servers.redis_server.url_of(0), servers)
            stack.configure(concurrency=1, **SHORT_LEASES)
            stack.start_simulator()
            worker = stack.start_worker()
            web = stack.start_web()
            engine = make_engine(stack.settings, name="pictures")
            with sync_playwright() as playwright:
                browser = launch(playwright)
                with visitor(browser, web.url) as person:
                    yield Studio(stack, engine, browser, web.url, out, person, worker)
                browser.close()
            engine.dispose()
        finally:
            if stack is not None:
                stack.close()
            servers.close()


def main() -> None:
    """Take the screenshots."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with studio_at(out) as studio:
        for name in sys.argv[2:] or STATES:
            STATES[name](studio)


if __name__ == "__main__":
    main()
