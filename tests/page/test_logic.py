"""The page's logic without a browser: stored requests, refused questions, error messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, func, select
from streamlit.testing.v1 import AppTest

from shared import fleet, lifecycle
from shared.conversations import open_conversation
from shared.people import Owner
from shared.tables import chat_request, message
from tests.patience import patient
from tests.shared.rig import claim_only
from tests.stack import Stack
from web import runtime, state
from web.views.chat import chat, composer

PAGE = Path(__file__).parents[2] / "web" / "page.py"
OWNER = Owner.browser(uuid4())


@pytest.fixture
def page(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page for a known browser, because AppTest has no cookies. It uses this test's servers, without a worker."""
    made = runtime.Runtime(stack.settings)
    monkeypatch.setattr(runtime, "_current", made)
    monkeypatch.setattr(state, "owner", lambda: OWNER)
    yield visit()
    made.dispatcher.close()
    made.engine.dispose()


def visit(*, conversation: str | None = None) -> AppTest:
    """Open the page in a tab."""
    app = AppTest.from_file(PAGE, default_timeout=20)
    if conversation is not None:
        app.query_params["c"] = conversation
    return app.run()


def said(app: AppTest) -> str:
    """Return all HTML that Naru draws on the page."""
    return " ".join(str(element.proto.body) for element in app.get("html"))


def address(app: AppTest) -> str:
    """Return the id of the page's conversation, which a browser has in its address."""
    return str(app.session_state["naru.conversation"])


def count(engine: Engine) -> int:
    """Return the number of stored requests."""
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(chat_request)).scalar_one())


def test_page_stores_and_shows_a_question(page: AppTest, engine: Engine) -> None:
    page.chat_input[0].set_value("What is <b>this</b>?").run()
    assert not page.exception
    assert count(engine) == 1
    assert "What is &lt;b&gt;this&lt;/b&gt;?" in said(page)


def test_question_sent_by_two_runs_is_stored_once(page: AppTest, engine: Engine) -> None:
    key = page.session_state["naru.idempotency_key"]
    page.chat_input[0].set_value("once").run()
    page.session_state["naru.idempotency_key"] = key
    page.chat_input[0].set_value("once").run()
    assert count(engine) == 1


def test_composer_gets_a_refused_second_question_back(page: AppTest, engine: Engine) -> None:
    page.chat_input[0].set_value("first").run()
    page.chat_input[0].set_value("second").run()
    assert count(engine) == 1
    assert "An answer is still running here" in said(page)
    assert "Your text is back in the box" in said(page)
    page.run()
    assert "An answer is still running here" not in said(page)
    kept = page.session_state["naru.returned"]
    assert kept["text"] == "second", "every run tells the browser, because the first may have been interrupted"


@pytest.mark.parametrize("is_stored", [True, False])
def test_browser_learns_the_fate_of_an_unsure_question(page: AppTest, engine: Engine, *, is_stored: bool) -> None:
    key = page.session_state["naru.idempotency_key"]
    if is_stored:
        page.chat_input[0].set_value("sent").run()
    page.session_state["naru.unsure"] = key
    page.run()
    assert page.session_state["naru.fate"] == {"key": key, "is_stored": is_stored}
    assert ("before your question was received" in said(page)) is not is_stored
    page.chat_input[0].set_value("sent").run()
    assert count(engine) == 1, "stored once, even if it is sent again"


def test_question_waits_for_an_answer_that_is_ending(
    page: AppTest, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composer, "ENDING_SECONDS", patient(5))
    page.chat_input[0].set_value("first").run()
    active = open_conversation(engine, UUID(address(page)), owner=OWNER).active
    assert active is not None
    ending = threading.Timer(0.2, lambda: lifecycle.stop(engine, active.request_id, owner=OWNER))
    ending.start()
    page.chat_input[0].set_value("second").run()
    ending.join()
    assert count(engine) == 2
    assert "An answer is still running here" not in said(page)


def test_first_question_takes_one_click(page: AppTest, engine: Engine) -> None:
    page.button(key="first-2").click().run()
    assert count(engine) == 1
    assert stored_question(engine).startswith("Write a short, polite e-mail")


def stored_question(engine: Engine) -> str:
    """Return the text of the one stored question."""
    with engine.connect() as connection:
        return str(connection.execute(select(message.c.content)).scalar_one())


def test_chosen_model_goes_with_the_question(page: AppTest, engine: Engine) -> None:
    models = [fleet.Model(name=name, demo=False) for name in ("openai/one", "openai/two")]
    member = fleet.Member(worker_id=uuid4(), host="h", pid=1, version="0", slots=1, models=models)
    fleet.register(engine, member, lease_seconds=60)
    app = visit()
    app.selectbox(key="model").set_value("openai/two").run()
    app.chat_input[0].set_value("hello").run()
    found = open_conversation(engine, UUID(address(app)), owner=OWNER)
    assert found.active is not None
    assert found.active.model == "openai/two"
    assert "no model is connected" not in said(app)


def test_page_of_a_foreign_chat_explains_itself(page: AppTest) -> None:
    assert not page.exception
    app = visit(conversation="nonsense")
    assert "This chat was deleted, or you" in said(app)
    app.button(key="way-out").click().run()
    assert "What would you like to know?" in said(app)


def test_page_without_a_cookie_explains_itself(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "owner", lambda: None)
    page.run()
    assert "Allow cookies for this address" in said(page)


def test_unexpected_error_shows_an_apology_with_an_id(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(chat, "draw", broken)
    page.run()
    assert not page.exception
    assert "Something went wrong on our side" in said(page)
    assert "a secret detail" not in said(page)
    assert page.caption[-1].value.startswith("For the administrator: ")


def test_korean_is_chosen_by_the_switch(page: AppTest) -> None:
    page.session_state["naru.locale"] = "ko"
    page.run()
    assert page.chat_input[0].placeholder == "나루에게 물어보기"


def test_regenerating_in_many_tabs_replaces_once(page: AppTest, engine: Engine) -> None:
    page.chat_input[0].set_value("once").run()
    finish_the_active(engine)
    here, there = (visit(conversation=address(page)) for _ in range(2))
    here.button(key="again").click().run()
    finish_the_active(engine)
    there.button(key="again").click().run()
    assert not there.exception
    assert count(engine) == 2, "the question, and one more answer to it"
    there.button(key="again").click().run()
    assert count(engine) == 3, "the new answer may be replaced too"


@pytest.mark.parametrize(("language", "sentence"), [("en", "first 12 messages"), ("ko", "처음 12개 메시지")])
def test_page_tells_how_many_messages_are_not_read(page: AppTest, engine: Engine, language: str, sentence: str) -> None:
    page.chat_input[0].set_value("once").run()
    finish_the_active(engine, left_out=12)
    there = visit(conversation=address(page))
    there.session_state["naru.locale"] = language
    assert sentence in said(there.run())


def finish_the_active(engine: Engine, *, left_out: int | None = None) -> None:
    """Answer the one queued question, as a worker would."""
    with engine.connect() as connection:
        waiting = connection.execute(select(chat_request.c.id).where(chat_request.c.status == "queued")).scalar_one()
    member = fleet.Member(worker_id=uuid4(), host="h", pid=1, version="0", slots=1, models=())
    fleet.register(engine, member, lease_seconds=60)
    claimed = claim_only(engine, waiting, lifecycle.Claimant(worker_id=member.worker_id, models=("",)))
    assert claimed is not None
    assert lifecycle.finish(engine, claimed, lifecycle.Answer(text="an answer", finish="stop", left_out=left_out))
