"""Tests of the download: it holds all of one owner's chats and nobody else's, and one runs at a time."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from shared.conversations import delete, exported_messages
from tests.page.pictures import fill
from tests.stack import Process, Stack, wait_until
from tests.web.clients import Answered, ask, browser

JSON, MARKDOWN = "/api/export?format=json", "/api/export?format=markdown"
#: More than one read of `shared/conversations/export.py`.
MESSAGES = 450


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: each test has an owner of its own."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start the web process."""
    return stack.start_web()


def chats(answer: Answered) -> dict[UUID, list[str]]:
    """Return the texts of each conversation in a JSON file."""
    assert (answer.status, answer.data["format"], answer.data["version"]) == (200, "naru-chats", 1)
    return {
        UUID(each["id"]): [message["content"] for message in each["messages"]] for each in answer.data["conversations"]
    }


def test_json_holds_every_chat_of_its_owner(stack: Stack, engine: Engine, web: Process) -> None:
    (owner, cookie), (stranger, _) = browser(stack), browser(stack)
    long = fill(engine, owner_id=owner.key, messages=MESSAGES)
    short = fill(engine, owner_id=owner.key, messages=2)
    deleted = fill(engine, owner_id=owner.key, messages=2)
    fill(engine, owner_id=stranger.key, messages=2)
    delete(engine, deleted, owner=owner)
    answer = ask(web.url, JSON, cookie=cookie)
    assert set(chats(answer)) == {long, short}
    questions = [text for text in chats(answer)[long] if text.startswith("Question")]
    assert questions == [f"Question {number}?" for number in range(0, MESSAGES, 2)], "each once, in order"
    assert len(chats(answer)[long]) == MESSAGES
    assert answer.headers["content-disposition"].startswith('attachment; filename="naru-')
    assert answer.headers["cache-control"] == "no-store"


def test_json_has_the_facts_of_an_answer(stack: Stack, engine: Engine, web: Process) -> None:
    owner, cookie = browser(stack)
    fill(engine, owner_id=owner.key, messages=2)
    (found,) = ask(web.url, JSON, cookie=cookie).data["conversations"]
    question, answer = found["messages"]
    assert (question["role"], question["parent_id"], question["status"]) == ("user", None, None)
    assert (answer["role"], answer["parent_id"], answer["status"]) == ("assistant", question["id"], "succeeded")
    assert found["leaf_id"] == answer["id"]


def test_messages_of_another_owner_are_not_read(stack: Stack, engine: Engine) -> None:
    (owner, _), (stranger, _) = browser(stack), browser(stack)
    conversation_id = fill(engine, owner_id=owner.key, messages=2)
    assert len(list(exported_messages(engine, conversation_id, owner=owner))) == 2
    assert list(exported_messages(engine, conversation_id, owner=stranger)) == []


def test_markdown_is_in_the_readers_language(stack: Stack, engine: Engine, web: Process) -> None:
    owner, cookie = browser(stack)
    fill(engine, owner_id=owner.key, messages=2)
    with engine.begin() as connection:
        renamed = text("UPDATE conversation SET title = '나루 이야기' WHERE owner_id = :id")
        connection.execute(renamed, {"id": owner.key})
    answer = ask(web.url, MARKDOWN, cookie=cookie, accept_language="ko-KR,en")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    lines = answer.body.splitlines()
    assert "# 나루 이야기" in lines
    assert "## 질문" in lines
    assert any(line.startswith("## 답변(") for line in lines)
    assert "Question 0?" in lines


def test_new_browser_downloads_an_empty_file(stack: Stack, web: Process) -> None:
    _, cookie = browser(stack)
    assert chats(ask(web.url, JSON, cookie=cookie)) == {}
    assert ask(web.url, MARKDOWN, cookie=cookie).status == 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (JSON, {}, 401),
        (JSON, {"cookie": "good", "sec_fetch_site": "cross-site"}, 403),
        (JSON, {"cookie": "good", "origin": "https://evil.example"}, 403),
        ("/api/export", {"cookie": "good"}, 400),
        ("/api/export?format=../x", {"cookie": "good"}, 400),
    ],
)
def test_download_is_refused_with_a_sentence(
    stack: Stack, web: Process, path: str, headers: dict[str, str], status: int
) -> None:
    if "cookie" in headers:
        headers = {**headers, "cookie": browser(stack)[1]}
    refused = ask(web.url, path, **headers)
    assert (refused.status, refused.data["message"].endswith(".")) == (status, True)


def test_code_that_an_answer_leaves_open_is_closed(stack: Stack, engine: Engine, web: Process) -> None:
    owner, cookie = browser(stack)
    fill(engine, owner_id=owner.key, messages=4)
    with engine.begin() as connection:
        connection.execute(text("UPDATE message SET content = E'Look:\\n```py\\nprint(1)' WHERE role = 'assistant'"))
    assert ask(web.url, MARKDOWN, cookie=cookie).body.count("```") == 4


def test_simultaneous_downloads_are_refused(stack: Stack, engine: Engine, web: Process) -> None:
    owner, cookie = browser(stack)
    fill(engine, owner_id=owner.key, messages=MESSAGES)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask(web.url, JSON, cookie=cookie).status, range(12)))
    assert set(answers) == {200, 429}
    assert ask(web.url, JSON, cookie=cookie).status == 200, "none is left under way"


def test_second_download_waits_for_the_first(stack: Stack, engine: Engine, web: Process) -> None:
    owner, cookie = browser(stack)
    conversation_id = fill(engine, owner_id=owner.key, messages=40)
    with engine.begin() as connection:
        large = text("UPDATE message SET content = repeat('나루', 200000) WHERE conversation_id = :id")
        connection.execute(large, {"id": conversation_id})
    address = urlsplit(web.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as slow:
        slow.sendall(f"GET {JSON} HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: {cookie}\r\n\r\n".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
        assert ask(web.url, JSON, cookie=cookie).status == 429
        _, others = browser(stack)
        assert ask(web.url, JSON, cookie=others).status == 200, "somebody else's does not wait"
    wait_until(lambda: ask(web.url, MARKDOWN, cookie=cookie).status == 200, what="the first one has ended")
    assert len(json.dumps(chats(ask(web.url, JSON, cookie=cookie))[conversation_id][0], ensure_ascii=False)) == 400_002
