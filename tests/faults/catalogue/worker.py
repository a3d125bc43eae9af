"""Faults of workers: killed, frozen, stuck, told to go, poisoned; and hints that are lost or doubled."""

from __future__ import annotations

from uuid import UUID

from shared.queue import Dispatcher
from tests.faults import previous
from tests.faults.fault import fault
from tests.faults.proxy import Trap
from tests.faults.rig import Shape
from tests.faults.shot import Shot
from tests.stack import Process

#: What a worker sends when it ends a request; nothing else of a worker's stores a message.
STORES_ANSWER = b"INSERT INTO message"
ALONE = Shape(workers=1, proxied=("worker.postgres",))


@fault(1, "worker killed in mid-answer", recovery="kill → the page shows the new attempt")
def killed(shot: Shot) -> None:
    """kill -9 before the first word, at it, in the middle, near the end, in turn; others run beside."""
    asked = shot.ask(6, shot.words(tokens=90, pace=30, first=0.5))
    tokens = (0, 1, 30, 80)[shot.index % 4]
    if tokens:
        shot.see_text(asked, tokens=tokens)
    victim = shot.rig.runner_of(asked[0].request)
    shot.strike()
    shot.rig.kill(victim)
    shot.see_ends(asked)
    shot.recovered_by_attempts(asked)


@fault(2, "worker killed between the provider's end and the commit", recovery="kill → the new attempt", shape=ALONE)
def killed_before_commit(shot: Shot) -> None:
    """The statement that stores the answer never reaches Postgres."""
    _killed_at(shot, Trap(STORES_ANSWER, forward=False))
    shot.recovered_by_attempts(shot.asked)


@fault(
    3, "worker killed after the commit, before the stream's end", recovery="kill → the page knows the end", shape=ALONE
)
def killed_after_commit(shot: Shot) -> None:
    """The one statement that stores and commits reaches Postgres, its reply nobody; the row has ended untold."""
    _killed_at(shot, Trap(STORES_ANSWER))
    ended = [row.request for row in shot.rows() if row.ended is not None and row.ended < shot.struck]
    assert ended, "the answer was stored before the kill"
    told = shot.since(lambda entry: entry.what == "ended")
    # No notice followed the commit, so the next sweep tells the page. It may have come before the kill was noted.
    shot.recovery += [told.get(request, 0.0) for request in ended]


def _killed_at(shot: Shot, trap: Trap) -> None:
    asked = shot.ask(1, shot.words(tokens=20, pace=40)) + shot.ask(3, shot.words(tokens=150, pace=30))
    shot.rig.kill_by(trap, shot.rig.proxies["worker.postgres"], shot.rig.workers[0], struck=shot.strike)
    shot.see_ends(asked)


@fault(4, "hint lost between Redis and the worker", recovery="question → its first word")
def brpop_window(shot: Shot) -> None:
    """SIGSTOP, publish, kill -9: BRPOP has destroyed the message, and only the other worker is there to find out."""
    victim = shot.rng.choice(shot.rig.workers)
    victim.freeze()
    shot.strike()
    asked = shot.ask(4, shot.words(tokens=20, pace=40), seconds=5)
    shot.rig.sleep(0.3)
    shot.rig.kill(victim)
    shot.see_ends(asked)
    shot.recovered_by_text(asked)
    # Redis gives one message to each worker that waits: one of the four was lost, the others came at once.
    shot.recovery = [max(shot.recovery)]


@fault(5, "worker frozen for 25 s, then thawed", recovery="freeze → the page shows the new attempt")
def frozen(shot: Shot) -> None:
    """SIGSTOP, so that it wakes in the belief that nothing happened; it must not write."""
    asked = shot.ask(6, shot.words(tokens=90, pace=30))
    shot.see_text(asked, tokens=shot.rng.randint(1, 60))
    victim = shot.rig.runner_of(asked[0].request)
    shot.strike()
    victim.freeze()
    shot.rig.sleep(25)
    victim.thaw()
    shot.see_ends(asked)
    shot.recovered_by_attempts(asked)
    shot.rig.sleep(2)  # the thawed worker's own writes, if it tries any


@fault(
    6,
    "worker's event loop stands still for 20 s",
    recovery="stall → the page shows the new attempt",
    shape=Shape(worker_module="tests.faults.harmed"),
    times=10,
)
def stalled(shot: Shot) -> None:
    """The process lives and its lease thread runs, but nothing streams: it must not keep its answers."""
    asked = shot.ask(4, shot.words(tokens=300, pace=30))
    shot.see_text(asked, tokens=5)
    shot.strike()
    stalling = shot.ask(1, shot.words(tokens=20) + " stall")
    shot.see_ends([*asked, *stalling])
    shot.recovered_by_attempts([*asked, *stalling])


@fault(7, "a hundred hints of each request", recovery="–")
def doubled_hints(shot: Shot) -> None:
    """Before, while and after it runs."""
    asked = shot.ask(3, shot.words(tokens=60, pace=40))
    dispatcher = Dispatcher(shot.rig.stack.settings)
    for _ in range(100 * len(asked)):
        dispatcher.send("demo")
    shot.see_ends(asked)
    for _ in asked:
        dispatcher.send("demo")
    dispatcher.close()
    shot.rig.sleep(0.5)


@fault(
    24,
    "rolling deploy under load",
    recovery="an attempt handed over → the next one's beginning",
    times=10,
    shape=Shape(settings={"grace_seconds": 5}),
)
def deployed(shot: Shot) -> None:
    """Each worker in turn: another one is started, this one is told to go; long answers are handed over."""
    asked = shot.ask(6, shot.words(tokens=20, pace=30)) + shot.ask(6, shot.words(tokens=700, pace=30))
    shot.strike()
    for old in list(shot.rig.workers):
        shot.rig.start_worker()
        shot.rig.let_go(old)
        asked += shot.ask(2, shot.words(tokens=30, pace=30))
        shot.rig.wait_gone(old)
    shot.see_ends(asked, seconds=120)
    shot.gaps_between_attempts()
    shot.figures["losses counted"].append(float(shot.losses()))


@fault(
    46,
    "workers of different models rolled under load",
    recovery="an attempt handed over → the next one's beginning",
    times=10,
    shape=Shape(settings={"grace_seconds": 5}),
)
def mixed_fleet_rolled(shot: Shot) -> None:
    """Each model has one worker, and both belong to one provider. A new worker of the model comes after the old one."""
    stack = shot.rig.stack
    stack.configure(openai_api_key="sk-test", openai_base_url=f"{stack.settings.simulator_url}/v1")
    models = ("openai/one", "openai/two")
    fleet = {model: shot.rig.start_worker(models=model) for model in models}
    asked = [each for model in models for each in shot.ask(4, shot.words(tokens=700, pace=30), model=model)]
    asked += [each for model in models for each in shot.ask(4, shot.words(tokens=20, pace=30), model=model)]
    shot.see_text(asked)
    shot.strike()
    for model, old in fleet.items():
        shot.rig.let_go(old)
        asked += shot.ask(3, shot.words(tokens=30, pace=30), model=model)
        shot.rig.wait_gone(old)
        fleet[model] = shot.rig.start_worker(models=model)
    assert set(shot.see_ends(asked, seconds=120)) == {"succeeded"}
    shot.gaps_between_attempts()
    shot.figures["losses counted"].append(float(shot.losses()))
    for each in fleet.values():
        shot.rig.kill(each, replace=False)


@fault(
    50,
    "rolled from the previous version under load: web first, or workers first",
    recovery="question to old and new processes side by side → its first word",
    times=10,
    shape=Shape(settings={"grace_seconds": 5}),
    patience=90,
)
def rolled_from_previous(shot: Shot) -> None:
    """The tables are new. Old web and new workers, or the reverse, share them for a while."""
    rig, current = shot.rig, [*shot.rig.workers, *shot.rig.webs]
    with rig.version(previous.unpacked(rig.folder)):
        old_web, old_workers = rig.start_web(), [rig.start_worker(), rig.start_worker()]
    for each in current:
        rig.kill(each, replace=False)
    asked = shot.ask(6, shot.words(tokens=400, pace=30)) + shot.ask(3, shot.words(tokens=20))
    shot.see_text(asked)
    _roll(shot, [old_web] if shot.index % 2 else old_workers)
    shot.strike()
    both = shot.ask(6, shot.words(tokens=60, pace=30))
    shot.see_text(both)
    shot.recovered_by_text(both)
    _roll(shot, old_workers if shot.index % 2 else [old_web])
    asked += both + shot.ask(6, shot.words(tokens=20))
    assert set(shot.see_ends(asked, seconds=90)) == {"succeeded"}
    shot.figures["losses counted"].append(float(shot.losses()))


def _roll(shot: Shot, old: list[Process]) -> None:
    """Replace each process as a deploy does: start the new one, then end the old one."""
    for each in old:
        is_web = each in shot.rig.webs
        shot.rig.start_web() if is_web else shot.rig.start_worker()
        shot.rig.let_go(each)
        shot.rig.wait_gone(each)


@fault(25, "drain cut short by SIGKILL", recovery="kill → the page shows the new attempt", times=10)
def drain_exceeded(shot: Shot) -> None:
    """Told to go, and killed a moment later, as an impatient orchestrator does."""
    asked = shot.ask(6, shot.words(tokens=150, pace=30))
    shot.see_text(asked)
    victim = shot.rig.runner_of(asked[0].request)
    shot.rig.let_go(victim)
    shot.rig.sleep(shot.rng.uniform(0.2, 2))
    shot.strike()
    shot.rig.kill(victim)
    shot.see_ends(asked)
    shot.recovered_by_attempts(asked)


@fault(
    28,
    "a request that kills its worker",
    recovery="–",
    times=6,
    shape=Shape(worker_module="tests.faults.harmed", workers=3, settings={"deadline_seconds": 1800}),
    patience=600,
)
def poison(shot: Shot) -> None:
    """Three times, then it fails; the first shot has 300 others beside it, the later ones 30."""
    others = shot.ask(30 if shot.index else 300, shot.words(tokens=120, pace=20, first=2))
    shot.see_text(others)
    poisoned = shot.ask(1, shot.words(tokens=200, pace=20) + " poison")
    shot.strike()
    ends = shot.see_ends([*poisoned, *others], seconds=600)
    shot.figures["poison failed"].append(float(ends[0] == "failed"))
    shot.figures["others answered"].append(float(sum(end == "succeeded" for end in ends[1:])))


@fault(
    31,
    "none, at full load: 300 answers at once on one worker",
    recovery="–",
    times=3,
    shape=Shape(workers=1),
    patience=120,
)
def full_load(shot: Shot) -> None:
    """Nobody may be taken for lost because there is much to do."""
    asked = shot.ask(300, shot.words(tokens=600, pace=15))
    shot.strike()
    shot.see_ends(asked, seconds=150)
    shot.figures["attempts lost"].append(float(shot.losses()))


def _uuid(text: str) -> UUID:
    return UUID(text)
