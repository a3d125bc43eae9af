"""Makes a call that adapts to the server: a refusal that names a quirk is followed by one more call, and remembered.

A refused call is not billed. What a refusal teaches counts for this question at once. It becomes a fact of the model
when the call that follows it succeeds, so that a misread refusal leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from workers.providers.knowledge import Known
from workers.providers.lessons import TEACHING_STATUSES, learn
from workers.providers.mapping import Evidence, evidence_of
from workers.providers.quirks import Body, Form, apply
from workers.providers.resending import resent

#: The most calls of one question. A model with more quirks than that is learnt over two questions.
MOST_CALLS = 6
_TEXT_LENGTH = 4000
T = TypeVar("T")


async def call(post: Callable[[Body], Awaitable[T]], body: Body, form: Form, known: Known) -> T:
    """Post `body` in the form that the model accepts, and return the reply. Raises what `post` raises."""
    model, facts = str(body["model"]), known.about(str(body["model"]))
    learnt: dict[str, Any] = {}
    passing: set[str] = set()
    for left in range(MOST_CALLS - 1, -1, -1):
        sent = apply({**facts, **learnt} if learnt else facts, body, form)
        try:
            reply = await resent(partial(post, sent))
        except Exception as error:
            lessons = learn(refusal_in(error), sent, form, learnt)
            fresh = {each.fact: each.value for each in lessons if learnt.get(each.fact) != each.value}
            if fresh and not left:
                # The server got past everything learnt so far. The next question goes on from here.
                _note(known, model, learnt, passing)
            if not (fresh and left):
                raise
            learnt |= fresh
            passing |= {each.fact for each in lessons if not each.lasts}
        else:
            _note(known, model, learnt, passing)
            return reply
    raise AssertionError  # the last round returns or raises


def _note(known: Known, model: str, learnt: Mapping[str, Any], passing: Collection[str]) -> None:
    if lasting := {fact: value for fact, value in learnt.items() if fact not in passing}:
        known.note(model, lasting)


def learn_within(error: Exception, body: Body, form: Form, known: Known) -> bool:
    """Learn from a refusal that came as an event of a stream, as local servers send it; return whether it taught.

    The event may lack a status. The facts are noted at once, because the next stream begins whether it succeeds or not.
    """
    model = str(body["model"])
    facts, evidence = known.about(model), evidence_of(error)
    lessons = learn(replace(evidence, status=evidence.status or 400), apply(facts, body, form), form)
    fresh = {each.fact: each.value for each in lessons if each.lasts and facts.get(each.fact) != each.value}
    if fresh:
        known.note(model, fresh)
    return bool(fresh)


def refusal_in(error: Exception) -> Evidence:
    """Return the evidence in an error. Its text also has the parameter and the details of a refusal without message."""
    if getattr(error, "status_code", None) not in TEACHING_STATUSES:
        return Evidence()
    evidence, body = evidence_of(error), getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    text = evidence.text or str(inner or "").lower()
    parameter = inner.get("param") if isinstance(inner, Mapping) else None
    return replace(evidence, text=f"{text[:_TEXT_LENGTH]} {str(parameter or '').lower()}".strip())
