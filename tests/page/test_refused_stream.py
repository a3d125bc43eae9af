"""The page while its live stream is refused: it retries ever less often, and still shows the answer."""

from __future__ import annotations

from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.person import visitor
from tests.patience import patient_ms
from tests.stack import Stack
from tests.web.clients import EventReader
from tests.web.clients import browser as new_identity

pytestmark = pytest.mark.browser
#: The page retries after about 0.5, 1, 2, 4, 8, 15, 15, … s, so it makes eight or nine requests a minute.
MOST_STREAMS = 20


def carry(page: Page, url: str, cookie: str) -> None:
    """Give this page's browser the identity in the cookie."""
    name, _, value = cookie.partition("=")
    page.context.add_cookies([{"name": name, "value": value, "url": url}])


def test_page_without_a_stream_shows_the_answer(stack: Stack, browser: Browser) -> None:
    stack.start_simulator()
    stack.start_worker()
    web = stack.start_web(streams_per_owner=1)
    _, cookie = new_identity(stack)
    other_page = EventReader(web.url, uuid4(), cookie).open()
    assert other_page.status == 200
    with visitor(browser, web.url) as person:
        asked: list[str] = []
        person.page.on("request", lambda request: asked.append(request.url) if "/events" in request.url else None)
        carry(person.page, web.url, cookie)
        person.open().ask("[[sim: tokens=5]] hello")
        bar = person.page.locator(".naru-bar")
        expect(bar).to_have_text("Reconnecting… your chat is safe", timeout=patient_ms(15))
        expect(person.answers).to_have_count(1, timeout=patient_ms(30))
        assert len(asked) <= MOST_STREAMS, "the page does not hammer the server"
        other_page.close()
        expect(bar).to_be_hidden(timeout=patient_ms(25))
        person.ask("[[sim: tokens=5]] again")
        person.wait_for_end(answers=2)
