"""Faults of providers: refusals, silence, broken streams. Most of them happen once: then the answer must be whole."""

from __future__ import annotations

from tests.faults.fault import fault
from tests.faults.rig import Shape
from tests.faults.shot import Shot

#: A refusal, and how the request must end.
REFUSALS = {
    "fault=429 retry_after=20 times=1": "succeeded",
    "fault=500 times=1": "succeeded",
    "fault=529 times=2": "succeeded",
    "fault=401": "failed",
    "fault=400": "failed",
    "fault=quota": "failed",
}
SILENCES = (
    "fault=silent times=1",
    "fault=hang at=0 times=1",
    "fault=hang at=12 times=1",
    "fault=ping at=12 times=1",
    "fault=tail times=1",
)
BREAKS = (
    "fault=end at=9 times=1",
    "fault=eof at=9 times=1",
    "fault=cut at=9 times=1",
    "fault=malformed at=9 times=1",
    "fault=error at=9 times=1",
    "fault=end at=20 times=1",
    "fault=refuse times=1",
    "fault=drip",
)


@fault(18, "provider refuses: 429, 500, 529, 401, 400, no quota", recovery="question → its end", times=24)
def refuses(shot: Shot) -> None:
    """What can be mended is answered after the wait that was asked for; what cannot fails at once, in words."""
    refusal = list(REFUSALS)[shot.index % len(REFUSALS)]
    shot.strike()
    asked = shot.ask(4, shot.words(tokens=20, pace=40, more=f"{refusal} key={shot.rng.getrandbits(40):x}"))
    shot.see_ends(asked, seconds=90)
    ended = shot.since(lambda entry: entry.what == "ended")
    shot.recovery += ended.values()
    statuses = shot.statuses(asked)
    # The fault is shown `times` per key, and the four share theirs: all of them may be answered at once.
    shot.figures[refusal.removesuffix(" times=1")] += ended.values()
    assert set(statuses) == {REFUSALS[refusal]}, statuses


@fault(
    19,
    "provider is silent: before the first byte, within, behind the end",
    recovery="question → its end (limits: first word 6 s, silence 4 s)",
    times=10,
    shape=Shape(settings={"first_token_seconds": 6, "idle_seconds": 4}),
)
def is_silent(shot: Shot) -> None:
    """Keep-alives are no words: a stream that only pings is silent."""
    silence = SILENCES[shot.index % len(SILENCES)]
    shot.strike()
    asked = [
        each
        for _ in range(3)
        for each in shot.ask(1, shot.words(tokens=30, pace=30, more=f"{silence} key={shot.rng.getrandbits(40):x}"))
    ]
    assert set(shot.see_ends(asked, seconds=90)) == {"succeeded"}
    shot.recovery += shot.since(lambda entry: entry.what == "ended").values()


@fault(
    20,
    "provider's stream ends early or is no stream",
    recovery="question → its end",
    times=24,
    shape=Shape(proxied=("worker.provider",)),
)
def breaks(shot: Shot) -> None:
    """A clean end without the finish mark is the trap: it must never count as an answer."""
    shot.strike()
    kind = shot.index % (len(BREAKS) + 2)
    more = BREAKS[kind] if kind < len(BREAKS) else ""
    asked = [
        each
        for _ in range(3)
        for each in shot.ask(1, shot.words(tokens=40, pace=30, more=f"{more} key={shot.rng.getrandbits(40):x}"))
    ]
    if not more:
        shot.see_text(asked, tokens=5)
        proxy = shot.rig.proxies["worker.provider"]
        proxy.half_close() if kind == len(BREAKS) else proxy.set(cut_after=shot.rng.randint(1, 900))
        shot.rig.sleep(1)
        proxy.pass_all()
    assert set(shot.see_ends(asked, seconds=90)) == {"succeeded"}
    shot.recovery += shot.since(lambda entry: entry.what == "ended").values()
