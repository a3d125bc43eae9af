"""Faults of web and of people: web killed, frozen and flooded, Enter pressed twice, Stop pressed in every phase."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from uuid import uuid4

from tests.faults.crowd import Asked, Crowd, Page
from tests.faults.fault import fault
from tests.faults.fault_routes import HARM_PATH
from tests.faults.proxy import STORES, Trap
from tests.faults.rig import Shape
from tests.faults.shot import Shot
from tests.faults.visitor import draws_page, flood


@fault(
    21,
    "web killed: before the hint, within COMMIT, while people read",
    recovery="stored → its attempt begins (killed before the hint); else kill → the next words",
    shape=Shape(webs=1, proxied=("web.postgres",)),
)
def killed(shot: Shot) -> None:
    """The request does not depend on web; a page that comes back shows all of it."""
    kind = shot.index % 4
    reading = shot.ask(3, shot.words(tokens=240, pace=30))
    shot.see_text(reading)
    shot.strike()
    web = shot.rig.webs[0]
    if kind == 0:
        # Enter once, and never again: it was stored, so it must be answered all the same.
        shot.rig.dismiss(web)
        shot.ask(1, shot.words(tokens=20), die="before_publish", again=False)
        web.wait()
        shot.rig.start_web(ready=False)
        shot.picked_up()
    elif kind in {1, 2}:
        trap = Trap(STORES, forward=kind == 1)
        asking = shot.rig.crowd.start(shot._ask(1, shot.words(tokens=20), {}))
        shot.rig.kill_by(trap, shot.rig.proxies["web.postgres"], web, struck=shot.strike)
        shot.asked += asking.result(90)
    else:
        shot.rig.kill(web)
    shot.see_ends(reading)
    if kind:
        shot.recovered_by_text(reading)


@fault(
    32,
    "web frozen, its loop stopped, its pages stuck, its streams stuck, flooded",
    recovery="harm → a page is drawn, and a new question's first words are shown",
    shape=Shape(webs=1),
)
def wedged(shot: Shot) -> None:
    """A web process that lives and serves nobody is restarted; one that a stranger floods serves on."""
    kind = list(HARMS)[shot.index % len(HARMS)]
    reading = shot.ask(4, shot.words(tokens=240, pace=30))
    shot.see_text(reading)
    shot.strike()
    shot.rig.do(HARMS[kind](shot))
    # It takes effect a moment after it was asked for.
    shot.rig.sleep(0.5)
    shot.asked.append(shot.rig.do(_served_again(shot.rig.crowd), seconds=120))
    took = time.time() - shot.struck
    shot.recovery.append(took)
    shot.figures[kind].append(took)
    shot.see_ends(shot.asked, seconds=90)


async def _served_again(crowd: Crowd) -> Asked:
    """Come until the page is drawn; ask, and press Enter again after each error; wait for the first words."""
    page = await crowd.page()
    while not await draws_page(crowd.session, crowd.url(page.number), page.cookie):  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.2)
    asked = await page.ask("[[sim: emit=call tokens=30 pace=30 first=0.1]] after the harm?", seconds=90)
    assert asked is not None
    await page.see_text(asked.request, seconds=60)
    return asked


async def _freeze(shot: Shot) -> None:
    shot.rig.webs[0].freeze()


async def _flood(shot: Shot) -> None:
    await flood(shot.rig.crowd.session, shot.rig.webs[0].url)


def _stop(part: str) -> Callable[[Shot], Coroutine[None, None, None]]:
    async def stop(shot: Shot) -> None:
        url = shot.rig.webs[0].url + HARM_PATH
        async with shot.rig.crowd.session.post(url, json={"kind": part}) as reply:
            assert reply.status == 200

    return stop


HARMS: dict[str, Callable[[Shot], Coroutine[None, None, None]]] = {
    "frozen": _freeze,
    "loop stopped": _stop("loop"),
    "pages stuck": _stop("pages"),
    "streams stuck": _stop("streams"),
    "flooded": _flood,
}


@fault(
    45,
    "web frozen for 2, 5 and 9 s, then thawed",
    recovery="thaw → the next words of each answer",
    times=12,
    shape=Shape(webs=2),
)
def frozen(shot: Shot) -> None:
    """Shorter than the time after which it counts as silent and is killed; the other web serves meanwhile."""
    asked = shot.ask(6, shot.words(tokens=450, pace=30))
    shot.see_text(asked, tokens=shot.rng.randint(1, 30))
    web = shot.rng.choice(shot.rig.webs)
    web.freeze()
    shot.rig.sleep((2, 5, 9)[shot.index % 3])
    web.thaw()
    shot.strike()
    asked += shot.ask(2, shot.words(tokens=20))
    shot.see_ends(asked)
    shot.recovered_by_text(asked)


@fault(22, "Enter pressed ten times, reloads, a second tab", recovery="–", shape=Shape(webs=2))
def impatience(shot: Shot) -> None:
    """One key is one request, at whichever web process it arrives; every tab shows the same answer."""

    async def press() -> list[Asked]:
        page = await shot.rig.crowd.page()
        tabs = [Page(shot.rig.crowd, like=page) for _ in range(3)]
        for tab in tabs:
            tab.open()
        shot.rig.crowd.pages += tabs
        words, key = shot.words(tokens=60, pace=30), uuid4().hex
        both = (page, tabs[0])
        pressed = await asyncio.gather(*(both[number % 2].ask(words, key=key) for number in range(10)))
        for tab in tabs:
            await asyncio.sleep(shot.rng.uniform(0, 0.4))
            await tab.reload()
        accepted = [each for each in pressed if each is not None]
        await asyncio.gather(*(tab.see_end(accepted[0].request) for tab in (page, *tabs)))
        return accepted

    asked = shot.rig.do(press())
    assert len({each.request for each in asked}) == 1
    shot.asked += asked[:1]


@fault(23, "Stop in every phase", recovery="Stop → the page says that it has ended", times=30)
def stopped(shot: Shot) -> None:
    """While queued, before the first word, in the middle, at the end, with the worker dead, with Redis hanging."""
    kind = list(PHASES)[shot.index % len(PHASES)]
    asked = PHASES[kind](shot)
    shot.strike()

    async def press() -> None:
        await asyncio.gather(*(each.page.stop(each.request) for each in asked))

    shot.rig.do(press())
    for worker in shot.rig.workers:
        worker.thaw()
    shot.see_ends(asked)
    took = shot.since(lambda entry: entry.what == "ended").values()
    shot.recovery += took
    shot.figures[f"Stop, {kind}"] += took


def _queued(shot: Shot) -> list[Asked]:
    for worker in shot.rig.workers:
        worker.freeze()
    return shot.ask(2, shot.words(tokens=60))


def _before_a_word(shot: Shot) -> list[Asked]:
    asked = shot.ask(2, shot.words(tokens=20, first=5))
    for each in asked:
        shot.rig.runner_of(each.request)
    return asked


def _in_the_middle(shot: Shot) -> list[Asked]:
    asked = shot.ask(2, shot.words(tokens=240, pace=30))
    shot.see_text(asked, tokens=shot.rng.randint(1, 60))
    return asked


def _at_the_end(shot: Shot) -> list[Asked]:
    asked = shot.ask(2, shot.words(tokens=40, pace=40))
    shot.see_text(asked, tokens=35)
    shot.rig.sleep(shot.rng.uniform(0, 0.15))
    return asked


def _worker_dead(shot: Shot) -> list[Asked]:
    asked = _in_the_middle(shot)
    for worker in list(shot.rig.workers):
        shot.rig.kill(worker, replace=False)
    return asked


def _redis_hangs(shot: Shot) -> list[Asked]:
    asked = _in_the_middle(shot)
    shot.rig.servers.redis.freeze()
    return asked


PHASES: dict[str, Callable[[Shot], list[Asked]]] = {
    "queued": _queued,
    "before a word": _before_a_word,
    "in the middle": _in_the_middle,
    "at the end": _at_the_end,
    "worker dead": _worker_dead,
    "Redis hangs": _redis_hangs,
}
