"""Tests of the calls that go on at their provider: who cancels those that are left, and what an attempt used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from shared import lifecycle
from shared.errors import ConnectFailed, ProviderError
from shared.lifecycle import Answer
from shared.messages import Message, TextPart
from tests.patience import patient
from tests.providers.responses_server import Responses, ResponsesServer, Script
from tests.shared.rig import RequestRig
from tests.stack import Stack, wait_until
from workers.answering import calls, spending
from workers.answering.result import Result
from workers.process.context import Context, make_context
from workers.process.running import RunningAnswer
from workers.providers.base import Done, Finish, Prompt, Usage
from workers.providers.tokens import size_of

LONG = Script(text=[f"word{number} " for number in range(120)], pace=0.5)
PROMPT = Prompt("thinker", (Message("user", (TextPart("Tell me."),)),))


@pytest.fixture
def memory() -> Responses:
    return Responses([LONG])


@pytest.fixture
def context(stack: Stack, memory: Responses) -> Iterator[Context]:
    """Yield the context of a process in which only the loop runs. Its provider `deep` has such calls."""
    path = stack.folder / "providers.toml"
    with ResponsesServer(memory) as server:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'[providers.deep]\nkind = "openai"\naddress = "{server.url}"\nkey = "sk-test"\n'
            'api = "responses"\nmodels = ["thinker"]\n'
        )
        path.chmod(0o600)
        stack.configure(providers_file=path, simulator_url="")
        made = make_context(stack.settings)
        made.loop.start()
        yield made
        made.loop.submit(made.registry.close()).result(timeout=patient(5))
        made.loop.close()
        made.engine.dispose()


def test_unexpected_error_does_not_end_the_looks(
    context: Context, memory: Responses, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calls, "LOOK_SECONDS", 0.05)
    rig = RequestRig(context.engine)
    made, claimed = memory.create({}), rig.running()
    assert lifecycle.fail(rig.engine, claimed, Answer(text="", call_id=made.id), code="total_timeout")
    rig.put(claimed.request_id, model="deep/thinker")
    del context.engine  # nobody expects that
    looking = context.loop.submit(calls.keep_cancelling(context))
    wait_until(lambda: "a look for calls to cancel failed" in caplog.text, what="a look fails")
    context.engine = rig.engine
    wait_until(lambda: memory.cancelled == [made.id], what="the next look cancels the call")
    looking.cancel()


@pytest.mark.parametrize(
    ("taken_up", "begun", "error", "prompts"),
    [
        (False, 0, ConnectFailed(), 0),
        (True, 0, ConnectFailed(), 1),
        (False, 1, ConnectFailed(), 1),
        (True, 1, ConnectFailed(), 2),
        (True, 1, None, 1),
        (True, 0, None, 0),
    ],
)
def test_known_call_is_billed(
    context: Context, *, taken_up: bool, begun: int, error: ProviderError | None, prompts: int
) -> None:
    """A call that was taken up, and one that was begun when the provider had forgotten it, without a word of text."""
    rig = RequestRig(context.engine)
    request_id = rig.ask(model="deep/thinker").request_id
    if taken_up:
        rig.put(request_id, call_id="resp_0")
    claimed = rig.try_claim(request_id, rig.worker("deep/thinker"), models=["deep/thinker"])
    assert claimed is not None
    running = RunningAnswer(claimed, context.loop)
    calls.begin(context, running)

    async def make() -> None:
        calls.watch(context, running)
        for number in range(begun):
            running.call.begin(f"resp_{number + 1}")
            await asyncio.sleep(0)

    context.loop.submit(make()).result(timeout=patient(5))
    reported = 0 if error else 7
    done = None if error else Done(Finish.STOP, Usage(reported, 1), None)
    found = spending.spent(context, running, PROMPT, Result(error=error, done=done, is_called=True))
    assert found.input_tokens == reported + prompts * size_of(PROMPT)
    assert found.is_estimated == (prompts > 0)
