"""Makes a call that adapts to the server: a refusal that names a quirk is followed by one more call, and remembered.

A refused call is not billed. A lesson counts for this question at once. It becomes a fact of the model
when the call that follows it succeeds, so that a misread refusal leaves nothing behind. A refusal may also come within
a stream, which has begun before anybody knows how it ends: there, a call succeeds once its reply has text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from workers.providers.knowledge import Known
from workers.providers.lessons import TEACHING_STATUSES, Lesson, learn
from workers.providers.mapping import Evidence, evidence_of
from workers.providers.quirks import Body, Form, apply
from workers.providers.resending import send_again_if_closed

#: The most calls of one question. A model with more quirks than that is learnt over two questions.
MOST_CALLS = 6
_TEXT_LENGTH = 4000
T = TypeVar("T")


@dataclass(slots=True)
class Taught:
    """The lessons of one question's refusals. They count for all further calls of this question."""

    facts: dict[str, Any] = field(default_factory=dict)
    #: Those of the facts that came within a stream. They are kept once a reply has text.
    unproven: dict[str, Any] = field(default_factory=dict)


async def call(
    post: Callable[[Body], Awaitable[T]], body: Body, form: Form, known: Known, taught: Taught | None = None
) -> T:
    """Post `body` in the form that the model accepts, and return the reply. Raises what `post` raises."""
    model, facts = str(body["model"]), known.about(str(body["model"]))
    learnt = (taught or Taught()).facts
    lasting: dict[str, Any] = {}
    for left in range(MOST_CALLS - 1, -1, -1):
        sent = apply({**facts, **learnt} if learnt else facts, body, form)
        try:
            reply = await send_again_if_closed(partial(post, sent))
        except Exception as error:
            lessons = learn(refusal_in(error), sent, form, learnt)
            fresh = {each.fact: each.value for each in lessons if learnt.get(each.fact) != each.value}
            if fresh and not left:
                # The server got past everything learnt so far. The next question goes on from here.
                _note(known, model, lasting)
            if not (fresh and left):
                raise
            learnt |= fresh
            lasting = _lasting(lasting | fresh, lessons)
        else:
            _note(known, model, lasting)
            return reply
    raise AssertionError  # the last round returns or raises


def learn_within(error: Exception, body: Body, form: Form, known: Known, taught: Taught) -> bool:
    """Learn from a refusal that came as an event of a stream, as local servers send it; return whether it taught.

    The event may lack a status.
    """
    facts, evidence = {**known.about(str(body["model"])), **taught.facts}, evidence_of(error)
    lessons = learn(replace(evidence, status=evidence.status or 400), apply(facts, body, form), form, taught.facts)
    fresh = {each.fact: each.value for each in lessons if facts.get(each.fact) != each.value}
    taught.facts |= fresh
    taught.unproven = _lasting(taught.unproven | fresh, lessons)
    return bool(fresh)


def keep(model: str, known: Known, taught: Taught) -> None:
    """Keep what was learnt within a stream, now that a reply has text."""
    _note(known, model, taught.unproven)
    taught.unproven = {}


def _lasting(facts: Mapping[str, Any], lessons: Iterable[Lesson]) -> dict[str, Any]:
    passing = {each.fact for each in lessons if not each.lasts}
    return {fact: value for fact, value in facts.items() if fact not in passing}


def _note(known: Known, model: str, facts: Mapping[str, Any]) -> None:
    if facts:
        known.note(model, facts)


def refusal_in(error: Exception) -> Evidence:
    """Return the evidence in an error. Its text also has the parameter and the details of a refusal without message."""
    if getattr(error, "status_code", None) not in TEACHING_STATUSES:
        return Evidence()
    evidence, body = evidence_of(error), getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    text = evidence.text or str(inner or "").lower()
    parameter = inner.get("param") if isinstance(inner, Mapping) else None
    return replace(evidence, text=f"{text[:_TEXT_LENGTH]} {str(parameter or '').lower()}".strip())
