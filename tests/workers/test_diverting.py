"""Tests of the loop that lets other models take over waiting requests."""

from __future__ import annotations

import pytest

from tests.patience import patient
from tests.stack import Stack, wait_until
from workers.answering import falling_back
from workers.process.context import make_context
from workers.process.membership import new_member


def test_unexpected_error_does_not_end_the_looks(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(falling_back, "LOOK_SECONDS", 0.05)
    stack.start_simulator()
    stack.configure(fallback="demo/simulator > demo/another")
    context = make_context(stack.settings)
    context.loop.start()
    context.member = new_member(context)
    engine = context.engine
    del context.engine  # nobody expects that
    looking = context.loop.submit(falling_back.keep_diverting(context))
    try:
        wait_until(lambda: caplog.text.count("a look for requests to divert failed") > 1, what="two looks fail")
        assert not looking.done()
    finally:
        looking.cancel()
        context.loop.submit(context.registry.close()).result(timeout=patient(5))
        context.loop.close()
        engine.dispose()
