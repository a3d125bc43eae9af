"""Tests of what the refusals of real servers teach, in their own words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workers.providers.lessons import Lesson, learn
from workers.providers.mapping import Evidence
from workers.providers.quirks import Body, Form, apply, describe

CHAT = Form("max_tokens", frozenset({"model", "messages", "stream"}))
MESSAGES = Form("max_tokens", frozenset({"model", "messages", "max_tokens", "stream"}))
USER = {"role": "user", "content": "question"}
SYSTEM = {"role": "system", "content": "be kind"}


def body(*messages: Body, **more: Any) -> Body:
    return {"model": "m", "stream": True, "messages": list(messages or (SYSTEM, USER)), **more}


TAUGHT = [
    (400, "Developer instruction is not enabled for models/gemma-3-27b-it", body(), {"system": "question"}),
    (400, "Only user and assistant roles are supported!", body(), {"system": "question"}),
    (422, ("[{'type': 'literal_error', 'loc': ['body', 'messages', 0, 'role'], 'msg': \"Input should be 'user' or "
     "'assistant'\", 'input': 'system'}]"), body(), {"system": "question"}),
    (500, "Jinja Exception: System role not supported", body(), {"system": "question"}),
    (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model.", body(),
     {"system": "question"}),
    (422, "role: Input should be 'user', 'assistant' or 'developer'; 'system' is not supported", body(),
     {"system": "developer"}),
    (500, "After the optional system message, conversation roles must alternate user and assistant roles",
     body(SYSTEM, USER, USER), {"roles_alternate": True}),
    (400, "Conversation roles must alternate user/assistant/user/assistant/...", body(), {"system": "question"}),
    (400, 'messages: roles must alternate between "user" and "assistant", but found multiple "user" roles in a row',
     body(USER, USER, max_tokens=9), {"roles_alternate": True}),
    (400, "The model does not support successive user or assistant messages (messages[1] and messages[2])",
     body(USER, USER), {"roles_alternate": True}),
    (400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
     body(max_tokens=9), {"limit_name": "max_completion_tokens"}),
    (422, "[{'type': 'extra_forbidden', 'loc': ['body', 'stream_options'], 'msg': 'Extra inputs are not permitted'}]",
     body(stream_options={}), {"without.stream_options": True}),
    (400, 'Invalid JSON payload received. Unknown name "stream_options": Cannot find field.',
     body(stream_options={}, temperature=1), {"without.stream_options": True}),
    (400, ("Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is "
     "supported."), body(temperature=0.2), {"without.temperature": True}),
    (400, "`temperature` is deprecated for this model.", body(temperature=0.2), {"without.temperature": True}),
    (400, "Unrecognized request argument supplied: reasoning_effort", body(reasoning_effort="low"),
     {"without.reasoning_effort": True}),
    (400, "temperature, reasoning_effort: unsupported parameters", body(temperature=1, reasoning_effort="low"),
     {"without.temperature": True, "without.reasoning_effort": True}),
    (400, "max_tokens is too large: 128000. This model supports at most 16384 completion tokens.",
     body(max_tokens=128_000), {"longest_output": 16_384}),
    (400, "max_tokens: 64000 > 32000, which is the maximum allowed number of output tokens for claude-x",
     body(max_tokens=64_000), {"longest_output": 32_000}),
    (400, ("`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the "
     "`context_window` for this model"), body(max_tokens=9000), {"longest_output": 8192}),
    (400, "Invalid max_tokens value, the valid range of max_tokens is [1, 8,192]", body(max_tokens=9000),
     {"longest_output": 8192}),
]  # fmt: skip
ONCE = [
    (402, ("This request requires more credits, or fewer max_tokens. You requested up to 65,536 tokens, but can only "
     "afford 1,234."), body(), {"output_this_time": 1234}),
    (400, ("'max_tokens' is too large: 8000. This model's maximum context length is 8192 tokens and your request has "
     "1000 input tokens"), body(max_tokens=8000), {"output_this_time": 7192, "window": 8192}),
    (400, ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (1000 in the "
     "messages, 8000 in the completion)."), body(max_tokens=8000), {"output_this_time": 7192, "window": 8192}),
    (400, "input length and `max_tokens` exceed context limit: 198000 + 32000 > 200000, decrease input length",
     body(max_tokens=32_000), {"output_this_time": 2000, "window": 200_000}),
    (400, "temperature must be between 0 and 1: invalid value", body(temperature=1.7), {"without.temperature": True}),
    (400, "temperature: range: 0..1", body(temperature=1.7), {"without.temperature": True}),
    (400, "temperature: Input should be less than or equal to 1", body(temperature=1.7), {"without.temperature": True}),
]  # fmt: skip
NOTHING = [
    (400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
     body(max_tokens=100)),
    (400, ("'max_tokens' is too large: 4000. This model's maximum context length is 8192 tokens and your request has "
     "8189 input tokens"), body(max_tokens=4000)),
    (400, "input length and `max_tokens` exceed context limit: 7900 + 500 > 8192, decrease input length",
     body(max_tokens=500)),
    (400, "max_tokens: range: 1..", body(max_tokens=100)),
    (400, "prompt is too long: 200001 tokens > 200000 maximum", body(max_tokens=250_000)),
    (402, "Insufficient balance.", body(max_tokens=100)),
    (402, "You can only afford 0 tokens", body(max_tokens=100)),
    (401, "System role not supported", body()),
    (429, "temperature is not supported", body(temperature=1)),
    (500, "temperature is not supported", body(temperature=1)),
    (400, "Invalid model name passed in model=gone", body(max_tokens=9, temperature=1)),
    (400, "The system is not supported any longer", body(USER)),
]  # fmt: skip


def lessons(status: int, said: str, sent: Body, form: Form = CHAT) -> tuple[Lesson, ...]:
    return learn(Evidence(status, text=said.lower()), sent, form)


@pytest.mark.parametrize(("status", "said", "sent", "facts"), TAUGHT, ids=range(len(TAUGHT)))
def test_refusal_teaches_a_fact(status: int, said: str, sent: Body, facts: dict[str, Any]) -> None:
    found = lessons(status, said, sent)
    assert {each.fact: each.value for each in found} == facts
    assert all(each.lasts for each in found)
    assert len(describe(facts)) == len(facts)


@pytest.mark.parametrize(("status", "said", "sent", "facts"), ONCE, ids=range(len(ONCE)))
def test_refusal_changes_this_call_alone(status: int, said: str, sent: Body, facts: dict[str, Any]) -> None:
    found = lessons(status, said, sent)
    assert {each.fact: each.value for each in found} == facts
    assert {each.fact for each in found if each.lasts} <= {"window"}


@pytest.mark.parametrize(("status", "said", "sent"), NOTHING, ids=range(len(NOTHING)))
def test_other_refusal_teaches_nothing(status: int, said: str, sent: Body) -> None:
    assert lessons(status, said, sent) == ()


WORDS = "unsupported parameter: temperature, stream_options and max_tokens are not supported"
ASKED = f'Why do I get this?\n"{WORDS}"\nI use 한국어.\tPlease explain ' + "it in detail " * 9


@pytest.mark.parametrize(
    "quote",
    [ASKED, f"{ASKED[:90]}...", f"...{ASKED[12:]}", repr(ASKED), json.dumps(ASKED), json.dumps(repr(ASKED))[:99]],
)
@pytest.mark.parametrize("place", ["user", "system", "parts", "parameter"])
def test_quote_teaches_nothing(quote: str, place: str) -> None:
    sent = body(temperature=1, stream_options={}, max_tokens=9)
    if place == "parts":
        sent["messages"] = [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]
    elif place == "parameter":
        sent["system"] = ASKED
    else:
        sent["messages"] = [{"role": place, "content": ASKED}, USER]
    assert lessons(400, f"invalid request: {quote}", sent) == ()
    (lesson,) = lessons(400, f"temperature is not permitted (in: {quote})", sent)
    assert lesson == Lesson("without.temperature", value=True)


def test_short_question_teaches_nothing() -> None:
    sent = body({"role": "user", "content": "no such\ntemperature"}, temperature=1)
    assert lessons(400, "invalid request: 'no such\\ntemperature'", sent) == ()


def test_long_refusal_of_a_long_prompt_is_read_quickly() -> None:
    sent = body({"role": "user", "content": "a" * 1_000_000}, temperature=1)
    (lesson,) = lessons(400, "a" * 3900 + " temperature is not supported", sent)
    assert lesson.fact == "without.temperature"


def test_required_parameter_is_never_left_out() -> None:
    sent = body(USER, max_tokens=9)
    assert lessons(400, "Unsupported parameter: max_tokens", sent, MESSAGES) == ()
    assert apply({"limit_name": "", "without.model": True}, sent, MESSAGES) == sent


def test_facts_change_a_request() -> None:
    sent = body(SYSTEM, USER, USER, {"role": "assistant", "content": "a"}, USER, max_tokens=900, temperature=1)
    facts = {
        "system": "question",
        "roles_alternate": True,
        "limit_name": "max_completion_tokens",
        "longest_output": 300,
        "without.temperature": True,
        "window": 8192,
    }
    changed = apply(facts, sent, CHAT)
    assert changed == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "user", "content": "be kind\n\nquestion\n\nquestion"},
            {"role": "assistant", "content": "a"},
            USER,
        ],
        "max_completion_tokens": 300,
    }
    assert sent["messages"][0] == SYSTEM, "the prompt itself stays as it is"


def test_parts_of_messages_are_kept_when_joined() -> None:
    marked = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
    sent = body({"role": "user", "content": marked}, USER, system="be kind", max_tokens=9)
    changed = apply({"system": "question", "roles_alternate": True}, sent, MESSAGES)
    assert changed["messages"] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "be kind"}, *marked, {"type": "text", "text": "question"}],
        }
    ]
    assert "system" not in changed


def test_system_text_without_a_question_becomes_one() -> None:
    assert apply({"system": "question"}, body(SYSTEM), CHAT)["messages"] == [{"role": "user", "content": "be kind"}]
