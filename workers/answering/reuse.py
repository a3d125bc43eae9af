"""The answer cache (NARU_ANSWER_CACHE_SECONDS): the owner's earlier answer to exactly the same prompt.

It takes the same way as a new one: through the live stream to the same fenced finish. No provider is called, nothing is
reserved, and nothing counts as used.
"""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from hashlib import sha256

from shared import metrics
from shared.errors import NaruError
from shared.lifecycle.reusing import Earlier, earlier_answer
from shared.spending.values import Spent
from workers.answering.result import Result
from workers.process.context import Context
from workers.process.running import RunningAnswer
from workers.providers.base import Done, Finish, Prompt

#: The live stream never splits a piece, so a long text comes in several.
PIECE_CHARACTERS = 4_000
_NOT_SENT = frozenset({"trace_id", "window"})


def again(context: Context, running: RunningAnswer, prompt: Prompt) -> Result | None:
    """Give the owner's earlier answer to this prompt again. None without one, with the option off, or on an error."""
    seconds = context.settings.answer_cache_seconds
    if not seconds:
        return None
    try:
        found = earlier_answer(context.engine, running.claimed, digest(prompt), within_seconds=seconds)
    except NaruError:
        return None  # the provider answers instead
    metrics.ANSWER_CACHE.labels("miss" if found is None else "hit").inc()
    return None if found is None else context.loop.submit(_play(context, running, prompt, found)).result()


def digest(prompt: Prompt) -> bytes:
    """Return the hash of everything that the provider gets, and of the number of messages that were left out."""
    sent = {each.name: getattr(prompt, each.name) for each in fields(prompt) if each.name not in _NOT_SENT}
    sent["messages"] = [(each.role, each.parts) for each in prompt.messages]
    return sha256(repr(sorted(sent.items())).encode(errors="surrogatepass")).digest()


async def _play(context: Context, running: RunningAnswer, prompt: Prompt, found: Earlier) -> Result:
    result = Result("", spent=Spent())
    live = running.live = context.publisher.open(running.claimed.request_id, running.claimed.attempt)
    try:
        running.begin()
    except asyncio.CancelledError:
        if running.interruption is None:
            raise
        return result
    for start in range(0, len(found.text), PIECE_CHARACTERS):
        live.add(found.text[start : start + PIECE_CHARACTERS])
    result.text, result.earlier_at = found.text, found.at
    result.sent = replace(prompt, left_out=found.left_out)
    result.done = Done(Finish.STOP, None, None)
    return result
