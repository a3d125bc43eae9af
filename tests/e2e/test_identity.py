"""A browser keeps its identity, in Chromium: two Narus on one machine, an upgrade, a new key, TLS by nginx."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from itsdangerous import TimestampSigner
from playwright.sync_api import Browser, BrowserContext
from sqlalchemy import Engine

from shared import lifecycle
from shared.lifecycle import Question
from shared.people import Owner
from tests.deploy.nginx import running_nginx
from tests.page.person import Person, visitor
from tests.stack import Stack
from web.asgi.cookies import HOST, LEGACY_NAME, PLAIN, Cookies

pytestmark = pytest.mark.browser
OLD, NEW, OTHER = "old-key-" + "o" * 32, "new-key-" + "n" * 32, "other-key-" + "x" * 32


def ours(context: BrowserContext) -> dict[str, str]:
    """Return Naru's cookies in this browser, by name."""
    names = ((each["name"], each["value"]) for each in context.cookies())
    return {name: value for name, value in names if name.startswith((LEGACY_NAME, HOST))}


def conversation_of(engine: Engine, browser_id: UUID) -> str:
    """Store a question; return its conversation's title."""
    title = f"asked-{uuid4().hex[:8]}"
    question = Question(
        owner=Owner.browser(browser_id), conversation_id=uuid4(), text=title, idempotency_key=uuid4().hex
    )
    lifecycle.submit(engine, question, deadline_seconds=3600, max_characters=1000)
    return title


def sees(person: Person, title: str) -> None:
    """Wait until the sidebar lists the conversation."""
    person.page.get_by_role("link", name=title).wait_for()


def test_two_narus_on_two_ports_keep_their_browsers(stack: Stack, engine: Engine, browser: Browser) -> None:
    first, second = stack.start_web(secret_key=OLD), stack.start_web(secret_key=OTHER)
    with visitor(browser, first.url) as person:
        person.open()
        (cookie,) = ours(person.page.context).items()
        browser_id = Cookies(OLD).read(["=".join(cookie)], is_tls=False).browser_id
        assert browser_id is not None
        title = conversation_of(engine, browser_id)
        person.open(second.url + "/")
        assert len(ours(person.page.context)) == 2
        person.open()
        assert cookie in ours(person.page.context).items(), "the other Naru left it alone"
        sees(person, title)


def test_upgrade_and_rotation_keep_the_conversations(stack: Stack, engine: Engine, browser: Browser) -> None:
    browser_id = uuid4()
    title = conversation_of(engine, browser_id)
    legacy = TimestampSigner(OLD, salt="naru.browser").sign(browser_id.hex).decode()
    web = stack.start_web(secret_key=OLD)
    with visitor(browser, web.url) as person:
        person.page.context.add_cookies([{"name": LEGACY_NAME, "value": legacy, "url": web.url}])
        sees(person.open(), title)
        for key in (f"{NEW},{OLD}", NEW):  # an upgrade, a rotation, and the old key dropped
            renewed = stack.start_web(secret_key=key)
            sees(person.open(renewed.url + "/"), title)
        assert all(name.startswith(PLAIN) for name in ours(person.page.context) if name != LEGACY_NAME)


def test_tls_cookie_is_bound_to_the_host(stack: Stack, engine: Engine, browser: Browser, tmp_path: Path) -> None:
    browser_id = uuid4()
    title = conversation_of(engine, browser_id)
    legacy = TimestampSigner(stack.settings.secret_key, salt="naru.browser").sign(browser_id.hex).decode()
    web = stack.start_web(secure_cookies="true")
    with running_nginx(tmp_path, NARU_WEB=urlsplit(web.url).netloc, NARU_FLOWER="127.0.0.1:9") as made:
        url = f"https://localhost:{made.https_port}"
        with visitor(browser, url, ignore_https_errors=True) as person:
            person.page.context.add_cookies(
                [{"name": LEGACY_NAME, "value": legacy, "url": url, "secure": True, "httpOnly": True}]
            )
            sees(person.open(), title)
            found = [each for each in person.page.context.cookies() if each["name"].startswith(HOST)]
            assert [(each["secure"], each["httpOnly"], each["path"]) for each in found] == [(True, True, "/")]
            assert found[0]["domain"] == "localhost"
            person.page.context.clear_cookies(name=LEGACY_NAME)
            sees(person.open(), title)
