"""Every callback of the page as another person, as nobody, and with a session that has ended.

The callbacks come from the source: one without a case fails. A case is a message that has an effect when its owner
sends it. The same message from anybody else must change nothing of the owner's, and show nothing.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX
from websockets.exceptions import ConnectionClosed

from deploy.embedded.processes import ROOT
from shared import conversations, lifecycle
from shared.lifecycle import Question
from shared.people import Owner, sessions
from shared.postgres.database import transaction
from shared.tuning import Tuning
from shared.words import LOCALES
from tests.stack import Stack, wait_until
from tests.web.clients import browser
from tests.web.fake_worker import ONE_HOUR, FakeWorker
from tests.web.socket import PageSocket
from tests.web.visitors import Visitor, person_of

#: The folders whose callbacks are tried here.
VIEWS = (ROOT / "web" / "views" / "chat", ROOT / "web" / "views")
SECRET = "only-ada"
#: Roles of other people: none of them opens anybody's chat.
ROLES = ("user", "auditor", "admin")
#: Places in the conversation's menu.
RENAME, DELETE = 0, 1
#: Callbacks whose test is elsewhere: they need an outage, a guest, or a browser that types.
ELSEWHERE = {
    "chat.look_again": "tests/web/test_session.py::test_stranger_sees_nothing_while_postgres_is_away",
    "tuning.draft_panel": "tests/page/test_tuning.py::test_closed_panel_keeps_what_was_typed",
    "sidebar._acknowledge": "tests/web/test_readings.py::test_nobody_confirms_for_another_guest",
}


def callbacks() -> Iterator[str]:
    """Yield the callbacks in the source: the values of `on_…=`, and the fragments, as `module.function`."""
    for folder in VIEWS:
        for path in sorted(folder.glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                yield from (f"{path.stem}.{name}" for name in _named_by(node))


def _named_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.keyword) and (node.arg or "").startswith("on_"):
        value = node.value
        if isinstance(value, ast.Constant):  # "rerun"
            return
        if isinstance(value, ast.Call):  # partial(function, …)
            value = value.args[0]
        yield ast.unparse(value).rpartition(".")[2]
    if isinstance(node, ast.FunctionDef) and any("fragment" in ast.unparse(each) for each in node.decorator_list):
        yield node.name


@dataclass(kw_only=True)
class Scene:
    """The owner's open page, with a chat that has ended."""

    page: PageSocket
    owner: Owner
    worker: FakeWorker
    conversation_id: UUID
    request_id: UUID
    key: str
    before: set[str] = field(default_factory=set)

    @property
    def query(self) -> str:
        return f"c={self.conversation_id}"

    def element(self, kind: str) -> Any:
        """Return the last drawn element of this kind."""
        drawn = (frame.delta.new_element for frame in reversed(self.page.frames))
        return next(getattr(each, kind) for each in drawn if each.WhichOneof("type") == kind)

    def live(self) -> dict[str, Any]:
        """Return what the live answer was told last."""
        (data,) = json.loads(self.element("bidi_component").json)
        return dict(data)

    def fragment(self) -> str:
        """Return the id of the list's fragment."""
        return next(frame.delta.fragment_id for frame in reversed(self.page.frames) if frame.delta.fragment_id)

    def click(self, key: str) -> WidgetState:
        return WidgetState(id=self.page.button(key), trigger_value=True)

    def choose(self, item: int) -> WidgetState:
        """Return the choice of an item in the conversation's menu: RENAME or DELETE."""
        menu = self.element("menu_button")
        state = WidgetState(id=menu.id)
        state.string_trigger_value.data = menu.options[item]
        return state

    def typed(self, words: str) -> WidgetState:
        state = WidgetState(id=self.element("chat_input").id)
        state.chat_input_value.data = words
        return state

    def language(self, locale: str) -> WidgetState:
        state = WidgetState(id=self.element("button_group").id)
        state.string_array_value.data.append(LOCALES[locale])
        return state

    def trigger(self, event: str, value: object) -> WidgetState:
        """Return a trigger of the live answer."""
        trigger_id = f"{STREAMLIT_INTERNAL_KEY_PREFIX}_{self.element('bidi_component').id}__events"
        return WidgetState(id=trigger_id, json_trigger_value=json.dumps([{"event": event, "value": value}]))

    def changed(self) -> bool:
        """Whether anything of the owner's differs from `before`."""
        return rows(self.worker.engine, self.owner) != self.before


@dataclass(frozen=True, slots=True)
class Message:
    """What a page sends: its address, its widgets, and the fragment to run ("" for the page)."""

    query: str
    widget: WidgetState | None = None
    fragment: str = ""

    def send(self, page: PageSocket, *, seconds: float = 60) -> None:
        widgets = () if self.widget is None else (self.widget,)
        page.frames.clear()
        page.run_at(self.query, *widgets, fragment=self.fragment, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`message` prepares the page and returns the message; `effect` says whether it had one."""

    message: Callable[[Scene], Message]
    effect: Callable[[Scene], bool] = Scene.changed
    #: Questions in the chat, and further chats.
    questions: int = 1
    chats: int = 0


def rows(engine: Engine, owner: Owner) -> set[str]:
    """Return what an owner has, apart from what the reconciler notes."""
    found = text(
        "SELECT concat_ws('|', id, title, model, tuning, deleted_at) FROM conversation WHERE owner_id = :owner"
        " UNION SELECT concat_ws('|', id, status, conversation_id) FROM chat_request WHERE owner_id = :owner"
        " UNION SELECT concat_ws('|', m.id, m.content) FROM message m JOIN conversation c ON c.id = m.conversation_id"
        " WHERE c.owner_id = :owner"
    )
    with transaction(engine) as connection:
        return set(connection.execute(found, {"owner": owner.key}).scalars())


def asked(engine: Engine, owner: Owner, conversation_id: UUID, words: str) -> tuple[UUID, str]:
    """Store a question; return the ids of the request and its key."""
    key = uuid4().hex
    question = Question(owner=owner, conversation_id=conversation_id, text=words, idempotency_key=key)
    return lifecycle.submit(engine, question, deadline_seconds=ONE_HOUR, max_characters=1000).request_id, key


def answered(worker: FakeWorker, owner: Owner, conversation_id: UUID, words: str) -> tuple[UUID, str]:
    request_id, key = asked(worker.engine, owner, conversation_id, words)
    worker.finish(worker.claim(request_id), f"{words} hears this")
    return request_id, key


@pytest.fixture
def scene(request: pytest.FixtureRequest, ada: Visitor, engine: Engine, fake_worker: FakeWorker) -> Iterator[Scene]:
    """The page of the case, which Ada has open."""
    case, owner = CASES[request.param], person_of(engine).owner
    fake_worker.enter()
    for number in range(case.chats):
        asked(engine, owner, uuid4(), f"{SECRET} {number}")
    conversation_id = uuid4()
    for number in range(case.questions - 1):
        answered(fake_worker, owner, conversation_id, f"{SECRET} asks {number:02}")
    request_id, key = answered(fake_worker, owner, conversation_id, f"{SECRET} asks {case.questions - 1:02}")
    with PageSocket(ada.url, ada.cookie) as page:
        found = Scene(
            page=page,
            owner=owner,
            worker=fake_worker,
            conversation_id=conversation_id,
            request_id=request_id,
            key=key,
        )
        page.run_at(found.query)
        assert page.drew(SECRET)
        yield found


def new_chat(scene: Scene) -> Message:
    query = f"new={uuid4()}"
    scene.page.run_at(query)
    return Message(query, scene.click("first-1"))


def gone_chat(scene: Scene) -> Message:
    query = f"c={uuid4()}"
    scene.page.run_at(query)
    return Message(query, scene.click("way-out"))


def other_chat(scene: Scene) -> UUID:
    """Store another chat of the owner."""
    conversation_id = uuid4()
    answered(scene.worker, scene.owner, conversation_id, f"{SECRET} knows the other chat")
    return conversation_id


def decided(scene: Scene) -> Message:
    scene.page.run_at(scene.query, scene.choose(RENAME))
    return Message(scene.query, scene.trigger("decided", {"id": scene.live()["dialog"]["id"], "title": "renamed"}))


def list_again(scene: Scene) -> Message:
    message = Message(scene.query, scene.click("list-again"), scene.fragment())
    other_chat(scene)
    return message


def panel_of(scene: Scene, key: str) -> Message:
    """Open the panel with the chat's settings, which somebody then changes elsewhere; return a click in it."""
    conversations.tune(scene.worker.engine, scene.conversation_id, owner=scene.owner, tuning=Tuning(effort="low"))
    panel = WidgetState(id=scene.page.run_at(scene.query).panel(), bool_value=True)
    scene.page.run_at(scene.query, panel)
    conversations.tune(scene.worker.engine, scene.conversation_id, owner=scene.owner, tuning=Tuning(effort="high"))
    return Message(scene.query, scene.click(key))


def drew(words: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.page.drew(words)


CASES: dict[str, Case] = {
    "composer.send": Case(message=lambda scene: Message(scene.query, scene.typed("one more"))),
    "empty.ask": Case(message=new_chat),
    "messages.again": Case(message=lambda scene: Message(scene.query, scene.click("again"))),
    "messages.widen_window": Case(
        message=lambda scene: Message(scene.query, scene.click("earlier")),
        effect=drew(f"{SECRET} asks 00"),
        questions=17,
    ),
    "listing.listing": Case(
        message=lambda scene: Message(scene.query, fragment=scene.fragment()), effect=drew(f"{SECRET} asks")
    ),
    "listing._read_more": Case(
        message=lambda scene: Message(scene.query, scene.click("more-conversations"), scene.fragment()),
        effect=drew(f"{SECRET} 0"),
        chats=52,
    ),
    "listing._read_again": Case(message=list_again, effect=drew("the other chat")),
    "listing._open_dialog": Case(
        message=lambda scene: Message(scene.query, scene.choose(DELETE)),
        effect=lambda scene: scene.live()["dialog"]["kind"] == "delete",
    ),
    "sidebar.choose_locale": Case(
        message=lambda scene: Message(scene.query, scene.language("ko")),
        effect=lambda scene: scene.live()["locale"] == "ko",
    ),
    "chat._nothing": Case(
        message=lambda scene: Message(scene.query, scene.trigger("started", str(scene.request_id))),
        effect=drew(f"{SECRET} asks 00 hears this"),
    ),
    "chat.follow_link": Case(
        message=lambda scene: Message(scene.query, scene.trigger("opened", str(other_chat(scene)))),
        effect=drew("the other chat hears this"),
    ),
    "chat.ask_for_fate": Case(
        message=lambda scene: Message(scene.query, scene.trigger("unsure", scene.key)),
        effect=lambda scene: scene.live()["fate"] == {"key": scene.key, "is_stored": True},
    ),
    "chat.decide": Case(message=decided),
    "tuning.save": Case(message=lambda scene: panel_of(scene, "tuning-save")),
    "tuning.reset": Case(message=lambda scene: panel_of(scene, "tuning-reset")),
    "notices.leave_conversation": Case(
        message=gone_chat,
        effect=lambda scene: any("new=" in frame.page_info_changed.query_string for frame in scene.page.frames),
    ),
}
each_case = pytest.mark.parametrize("scene", CASES, indirect=True)


def case_of(request: pytest.FixtureRequest) -> Case:
    return CASES[request.node.callspec.params["scene"]]


def test_every_callback_has_a_case() -> None:
    assert set(callbacks()) == {*CASES, *ELSEWHERE}


@each_case
def test_another_persons_session_runs_no_callback(
    request: pytest.FixtureRequest, stack: Stack, ada: Visitor, engine: Engine, scene: Scene
) -> None:
    message = case_of(request).message(scene)
    scene.before = rows(engine, scene.owner)
    others = [Visitor(ada.url) for _ in ROLES]
    for other, role in zip(others, ROLES, strict=True):
        assert other.sign_up(engine, f"{role}@example.org", role=role).status == 303
    for cookie in (*(other.cookie for other in others), browser(stack)[1], ""):
        with PageSocket(ada.url, cookie, session=scene.page.session) as stolen:
            with contextlib.suppress(TimeoutError):  # a run of a fragment that this session lacks may never end
                message.send(stolen, seconds=1 if message.fragment else 60)
            assert stolen.session != scene.page.session
            assert not stolen.drew(SECRET)
            assert not scene.changed()
    message.send(scene.page)
    assert case_of(request).effect(scene), "the owner's own message has its effect"


@each_case
def test_ended_session_changes_nothing(
    request: pytest.FixtureRequest, ada: Visitor, engine: Engine, scene: Scene
) -> None:
    message = case_of(request).message(scene)
    scene.before = rows(engine, scene.owner)
    sessions.end_all(engine, person_of(engine).id)
    wait_until(lambda: is_closed(scene.page), what="the socket is closed")
    with PageSocket(ada.url, ada.cookie, session=scene.page.session) as again:
        with contextlib.suppress(TimeoutError):
            message.send(again, seconds=1 if message.fragment else 60)
        assert not again.drew(SECRET)
    assert not scene.changed()


def is_closed(page: PageSocket) -> bool:
    """Whether the socket is closed. It asks with an address that shows nothing."""
    try:
        page.run_at("new=")
    except ConnectionClosed:
        return True
    return False


FORGERIES: dict[str, Callable[[Scene, Scene], Message]] = {
    "question": lambda ada, bob: Message(ada.query, bob.typed("a question into another's chat")),
    "regenerate": lambda ada, bob: Message(ada.query, bob.click("again")),
    "menu": lambda ada, bob: Message(ada.query, bob.choose(DELETE)),
    "list": lambda ada, bob: Message(ada.query, bob.click("list-again"), bob.fragment()),
    "language": lambda ada, bob: Message(ada.query, bob.language("ko")),
    "link": lambda ada, bob: Message(bob.query, bob.trigger("opened", str(ada.conversation_id))),
    "started": lambda ada, bob: Message(bob.query, bob.trigger("started", str(ada.request_id))),
    "ended": lambda ada, bob: Message(ada.query, bob.trigger("ended", str(ada.request_id))),
    "fate": lambda ada, bob: Message(bob.query, bob.trigger("unsure", ada.key)),
    "decision": lambda ada, bob: Message(ada.query, decided(bob).widget),
    "their decision": lambda ada, bob: Message(ada.query, bob.trigger("decided", json.loads(decision_of(ada)))),
    "their button": lambda ada, _: Message(ada.query, ada.click("again")),
}


def decision_of(scene: Scene) -> str:
    """Return the decision in a dialog that the owner has open."""
    widget = decided(scene).widget
    assert widget is not None
    return json.dumps(json.loads(widget.json_trigger_value)[0]["value"])


@pytest.mark.parametrize("scene", ["composer.send"], indirect=True)
@pytest.mark.parametrize("forged", FORGERIES)
def test_forged_values_touch_nothing_of_another(
    ada: Visitor, engine: Engine, fake_worker: FakeWorker, scene: Scene, forged: str
) -> None:
    other = Visitor(ada.url)
    assert other.sign_up(engine, "second@example.org").status == 303
    owner, conversation_id = person_of(engine, "second@example.org").owner, uuid4()
    request_id, key = answered(fake_worker, owner, conversation_id, "mine")
    with PageSocket(ada.url, other.cookie) as page:
        mine = Scene(
            page=page, owner=owner, worker=fake_worker, conversation_id=conversation_id, request_id=request_id, key=key
        )
        page.run_at(mine.query)
        message = FORGERIES[forged](scene, mine)
        scene.before = rows(engine, scene.owner)
        with contextlib.suppress(TimeoutError):
            message.send(page, seconds=5 if message.fragment else 60)
        assert not page.drew(SECRET)
        Message(mine.query).send(page)
        assert not page.drew(SECRET)
        assert not scene.changed()
        if forged == "fate":
            assert mine.live()["fate"] == {"key": scene.key, "is_stored": False}
