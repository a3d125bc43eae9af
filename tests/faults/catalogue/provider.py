"""Faults of providers: refusals, silence, broken streams, absence. Most happen once: then the answer must be whole."""

from __future__ import annotations

import time

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


#: An absence of 300 s is as long as a request is retried by default.
PATIENT: dict[str, object] = {"deadline_seconds": 900, "total_seconds": 900, "retry_seconds": 420}
#: The most calls of the whole fleet in a minute of absence.
MOST_CALLS = 12


@fault(
    48,
    "provider away for 15, 60 and 300 s",
    recovery="the provider is back → a new question's first word",
    times=12,
    shape=Shape(proxied=("worker.provider",), settings=PATIENT),
    patience=120,
)
def away(shot: Shot) -> None:
    """Streams break and connections are refused: nothing fails, and few calls ask whether the provider is back."""
    seconds = (15, 60, 15, 60, 15, 300)[shot.index % 6]
    asked = shot.ask(4, shot.words(tokens=240))
    shot.see_text(asked, tokens=5)
    way = shot.rig.proxies["worker.provider"]
    refused = way.refused
    way.set(refuses=True)
    way.reset()
    for _ in range(5):
        asked += shot.ask(2, shot.words(tokens=20))
        shot.rig.sleep(seconds / 5)
    calls = way.refused - refused
    way.pass_all()
    shot.strike()
    asked += shot.ask(2, shot.words(tokens=45, first=0.05))
    assert set(shot.see_ends(asked, seconds=120)) == {"succeeded"}
    shot.recovered_by_text(asked[-2:])
    shot.figures[f"calls in {seconds} s"].append(float(calls))
    assert calls <= MOST_CALLS * max(seconds / 60, 1), f"{calls} calls in {seconds} s"


@fault(
    49,
    "provider flaps for a minute: 1 to 5 s there, 1 to 5 s away",
    recovery="the provider is back → a new question's first word",
    times=10,
    shape=Shape(proxied=("worker.provider",)),
    strikes_provider=True,
)
def flaps(shot: Shot) -> None:
    """Two streams of one answer may break: then it fails, with the text so far."""
    way = shot.rig.proxies["worker.provider"]
    asked, limit = shot.ask(4, shot.words(tokens=120)), time.monotonic() + 60
    while time.monotonic() < limit:
        way.set(refuses=True)
        way.reset()
        shot.rig.sleep(shot.rng.uniform(1, 5))
        way.pass_all()
        asked += shot.ask(2, shot.words(tokens=30))
        shot.rig.sleep(shot.rng.uniform(1, 5))
    shot.strike()
    new = shot.ask(2, shot.words(tokens=45, first=0.05))
    ends = shot.see_ends([*asked, *new], seconds=120)
    shot.recovered_by_text(new)
    shot.figures["answers that failed"].append(float(ends.count("failed")))
