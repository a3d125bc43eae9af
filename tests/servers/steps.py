"""What each server has to show, and what Naru has to make of it.

A step returns what was seen. It raises Differs where the server does something else than most, and Naru copes; any
other exception is a fault of Naru.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from shared.errors import ContextTooLong
from shared.messages import Message, RequestEnd
from shared.tables import Status
from tests.servers.asking import Answered, naru, until
from tests.servers.kinds import KEY, Kind, calls_behind
from tests.servers.running import Running
from workers.providers.base import Done
from workers.providers.listing import Problem
from workers.providers.windows import WINDOW

CLOSE_SECONDS = 5.0
QUESTION = "Say something short."
#: A piece of a conversation: about 240 tokens by Naru's estimate, more by a tokenizer of letters.
LONG_TURN = "many words and more of them " * 40


class Differs(Exception):
    """The server does not do this, or does it in its own way; the message says how."""


class Fault(Exception):
    """Naru made the wrong thing of it."""


async def lists(kind: Kind, running: Running) -> str:
    """Naru finds the model, and its window if the list has it."""
    async with naru(kind, running.url, KEY) as side:
        problem = side.registry.problems().get(kind.wire)
        offers = {each.name: each for each in side.registry.offers()}
        if side.offer not in offers and running.status("/v1/models") == 404:
            raise Differs("no list: name the models")
        if problem is not None:
            raise Fault(f"says that the server {problem.value}")
        if side.offer not in offers:
            raise Fault(f"offers {', '.join(offers) or 'nothing'}")
        window = offers[side.offer].context_tokens
        return f"{len(offers)} model{'s' if len(offers) > 1 else ''}, {f'window {window}' if window else 'no window'}"


async def streams(kind: Kind, running: Running) -> str:
    """The text arrives in pieces, with a finish mark."""
    async with naru(kind, running.url, KEY) as side:
        answered = _good(await side.ask(QUESTION))
        if answered.deltas < 2:
            raise Differs("the text arrives in one piece")
        assert answered.done
        return f"{answered.deltas} pieces, finish {answered.done.finish.value}"


async def usage(kind: Kind, running: Running) -> str:
    """The answer has its tokens."""
    async with naru(kind, running.url, KEY) as side:
        answered = _good(await side.ask(QUESTION))
        assert answered.done
        if answered.done.usage is None:
            raise Differs("none: Naru estimates")
        return f"{answered.done.usage.input_tokens} in, {answered.done.usage.output_tokens} out"


async def stop(kind: Kind, running: Running) -> str:
    """A stop closes the connection, and the server ends its work."""
    async with naru(kind, running.url, KEY) as side:
        before = running.open_connections()
        async with aclosing(side.stream(side.prompt(kind.long, max_output_tokens=None))) as stream:
            pieces = 0
            async for item in stream:
                pieces += not isinstance(item, Done)
                if pieces >= 3:
                    break
        if pieces < 3:
            raise Differs("the answer ended before the stop")
        if before is None:
            raise Differs("this system does not tell its connections")
        began = time.monotonic()
        if await until(lambda: (running.open_connections() or 0) <= before, CLOSE_SECONDS) is None:
            raise Fault(f"the connection is still open after {CLOSE_SECONDS:.0f} s")
        closed = time.monotonic() - began
        is_busy = kind.is_busy
        if is_busy is not None and await until(lambda: not is_busy(running), CLOSE_SECONDS) is None:
            raise Differs("closed, but the server goes on writing")
        return f"closed in {closed:.2f} s" + (", the server stops writing" if is_busy else "")


async def kill(kind: Kind, running: Running) -> str:
    """The server dies in the middle of an answer: the text so far stays. It starts again, and Naru asks it again."""
    async with naru(kind, running.url, KEY) as side:
        text, error = "", None
        try:
            async with aclosing(side.stream(side.prompt(kind.long, max_output_tokens=None))) as stream:
                async for item in stream:
                    text += "" if isinstance(item, Done) else item
                    if text and running.is_up:
                        running.kill()
        except Exception as failed:  # noqa: BLE001 - looked at below
            error = failed
        away = await side.ask(QUESTION)
        seconds = running.start()
        code = getattr(error, "code", type(error).__name__)
        if code != "stream_broken" or not text:
            raise Fault(f"a killed server is {code} after {len(text)} characters")
        if away.code != "connect_failed":
            raise Fault(f"a server that is away is {away.code}")
        again = _good(await side.ask(QUESTION))
        return f"{code}, then {away.code}; {again.code} at once after a restart of {seconds:.1f} s"


async def wrong_key(kind: Kind, running: Running) -> str:
    """A refused key is told as such, for the list and for a question."""
    async with naru(kind, running.url, "sk-not-the-key-1") as side:
        problem = side.registry.problems().get(kind.wire)
        answered = await side.ask(QUESTION)
        if answered.done:
            raise Differs("takes any key")
        if answered.code != "auth_failed":
            raise Fault(f"a question is {answered.code}: {answered.error}")
        if problem is not Problem.KEY_REFUSED:
            if running.status("/v1/models") in (200, 404):
                raise Differs("the list needs no key; a question is auth_failed")
            raise Fault(f"the list is {problem.value if problem else 'accepted'}")
        return "key_refused, auth_failed"


async def model_removed(kind: Kind, running: Running) -> str:
    """A model that the server no longer has is told as such."""
    async with naru(kind, running.url, KEY) as side:
        answered = await side.ask(QUESTION, model=f"{kind.wire}/gone")
        if answered.done:
            raise Differs("answers any name")
        if answered.code != "model_not_found":
            raise Fault(f"it is {answered.code}: {answered.error}")
        return answered.code


async def two_questions(kind: Kind, running: Running) -> str:
    """Two questions in a row, and a system text, are answered; so is a question after one whose answer failed."""
    async with naru(kind, running.url, KEY) as side:
        _good(await side.ask("First.", QUESTION, system="Be brief."))
        learnt = side.learnt()
        if (again := _good(await side.ask("First.", QUESTION, system="Be brief."))).error:
            raise Fault(again.code)
        side.branch = [Message.of_text("user", "This one failed."), _failed()]
        _good(await side.say(QUESTION))
        _good(await side.say(QUESTION))
        return f"answered; learnt: {'; '.join(learnt)}" if learnt else "answered; nothing to learn"


async def window(kind: Kind, running: Running) -> str:
    """A question that is too long fails alone; a conversation that is too long loses its beginning."""
    if not kind.too_long:
        raise Differs("knows no window")
    async with naru(kind, running.url, KEY) as side:
        refused = await side.say(kind.too_long)
        if refused.done:
            raise Differs("answers although the question does not fit: it may cut it in silence")
        if not isinstance(refused.error, ContextTooLong):
            raise Fault(f"a question that is too long is {refused.code}: {refused.error}")
        _good(await side.say(QUESTION))
        if kind.behind == "simulator":
            return "context_too_long; the next question is answered"
        for place in range(8):
            turn = ("user", "assistant")[place % 2]
            side.branch.append(Message.of_text(turn, LONG_TURN))  # type: ignore[arg-type] # both are roles
        # The worker knows no window, so the server has to refuse.
        answered = _good(await side.say(QUESTION))
        known = side.registry.knowledge.about(side.offer).get(WINDOW)
        if not known:
            raise Differs("a long conversation is answered without a refusal")
        assert answered.done
        return f"context_too_long; the next question is answered; a long chat is cut, window {known} learnt"


async def breaks_behind(kind: Kind, running: Running) -> str:
    """The server behind a gateway breaks off: the text so far stays, and the answer is not called complete."""
    if not kind.breaking:
        raise Differs("no server behind it")
    async with naru(kind, running.url, KEY) as side:
        answered = await side.ask(kind.breaking)
        if answered.done or not answered.text:
            raise Fault(f"it is {answered.code} with {len(answered.text)} characters")
        return f"{answered.code} with the text so far"


async def calls(kind: Kind, running: Running) -> str:
    """A question that a server behind a gateway refuses reaches it once."""
    if not kind.failing:
        raise Differs("no server behind it")
    async with naru(kind, running.url, KEY) as side:
        before = _calls(running)
        answered = await side.ask(kind.failing)
        made = _calls(running) - before
        if answered.done:
            raise Fault("a refusal is an answer")
        if made > 1:
            raise Differs(f"{answered.code}; the gateway asked {made} times: set its num_retries to 0")
        return f"{answered.code}, 1 call"


def _calls(running: Running) -> int:
    return sum(each["event"] == "start" for each in calls_behind(running))


def _failed() -> Message:
    return Message.of_text("assistant", "", end=RequestEnd(status=Status.FAILED))


def _good(answered: Answered) -> Answered:
    """Return an answer that is one. Raises Fault."""
    if answered.done is None:
        raise Fault(f"a question is {answered.code}: {answered.error}")
    return answered


Step = Callable[[Kind, Running], Awaitable[str]]
#: In the order of the table. `kill` comes last, because it starts the server again.
STEPS: dict[str, Step] = {
    "list": lists,
    "stream": streams,
    "usage": usage,
    "stop": stop,
    "wrong key": wrong_key,
    "model removed": model_removed,
    "two questions": two_questions,
    "window exceeded": window,
    "breaks behind": breaks_behind,
    "calls behind": calls,
    "kill and restart": kill,
}
