"""The composition root of the web process: settings, engine, dispatcher, and what is started and stopped with
them.

One `Runtime` for the routes (in uvicorn's loop) and Streamlit's script threads alike. It is made by
`current_runtime()` when first asked for, not at import; the ASGI lifespan starts what runs in the background.
Without a lifespan (a plain `streamlit run`, AppTest) submitting, stopping and reading work all the same; only
live events are not there.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from uuid import UUID

from shared import lifecycle, metrics
from shared.errors import AddressTooFast, OverLimit, OwnerTooFast
from shared.following.best_text import BestText
from shared.interpreter import freeze_loaded_objects
from shared.lifecycle import OwnerLimits, Question, Submitted
from shared.people import Owner
from shared.postgres import notify
from shared.postgres.database import make_engine
from shared.queue import Dispatcher
from shared.reconciler import Ticker
from shared.settings import Settings, load_settings
from shared.tables import Status
from shared.wedge import WedgeWatch
from web.limits import RateLimit, report_over_limit
from web.liveness import Liveness
from web.watch.listener import Listener
from web.watch.watcher import Watcher

log = logging.getLogger(__name__)

#: No thread of Python may be away for longer than so many times the limit of a wedged process. It is long, because a
#: container that was paused and goes on would meet it.
NO_THREAD = 5.0
#: Of one owner, for each question that it may ask: the composer itself tries a question up to six times while an answer
#: is ending. Whoever tries more often is refused without Postgres, and uses up nothing of the address's allowance.
TRIES_PER_QUESTION = 4


class Runtime:
    """What one web process is made of. Methods are for any thread, coroutines for the loop."""

    def __init__(self, settings: Settings) -> None:
        settings.need("database_url", "redis_url", "secret_key")
        self.settings = settings
        self.engine = make_engine(settings, name="naru-web")
        self.dispatcher = Dispatcher(settings, self.engine)
        self.newcomers = RateLimit(settings.address_newcomers_per_minute)
        self.watcher: Watcher | None = None
        self._tries = RateLimit(TRIES_PER_QUESTION * settings.owner_questions_per_minute)
        self._questions = RateLimit(settings.address_questions_per_minute)
        self._owner_limits = OwnerLimits.of(settings)
        self._best_text = BestText(settings, self.engine)
        self._ticker: Ticker | None = None
        self._listener: Listener | None = None
        self._gauges: metrics.SystemGauges | None = None
        self._has_drawn = False
        self.liveness = Liveness(settings, follows_streams=self._follows_streams, is_visited=self._is_visited)
        self._living: asyncio.Task[None] | None = None
        self._wedge = WedgeWatch(
            self.liveness.signs,
            limit_seconds=settings.web_wedged_seconds,
            start_seconds=0.0,  # it begins when everything is there
            no_thread=NO_THREAD,
        )

    def submit(self, question: Question, *, client: str) -> Submitted:
        """Store a question, send its hint in the background, and let the conversation's viewers know.

        `client` is the person's address as `web/asgi/address.py` gives it. Raises AddressTooFast, or what
        `shared.lifecycle.submit` raises.
        """
        try:
            submitted = self._store(question, client)
        except OverLimit as error:
            report_over_limit(error.code, client)
            raise
        if submitted.is_new:
            metrics.SUBMITTED.inc()
        self.dispatcher.send(submitted.request_id)
        self.nudge(submitted.conversation_id)
        return submitted

    def _store(self, question: Question, client: str) -> Submitted:
        if wait := self._tries.take(question.owner.key):
            raise OwnerTooFast(self.settings.owner_questions_per_minute, math.ceil(wait))
        if wait := self._questions.take(client):
            raise AddressTooFast(self.settings.address_questions_per_minute, math.ceil(wait))
        return lifecycle.submit(
            self.engine,
            question,
            deadline_seconds=self.settings.deadline_seconds,
            max_characters=self.settings.max_question_characters,
            limits=self._owner_limits,
        )

    def stop(self, request_id: UUID, *, owner: Owner) -> Status:
        """Stop a request; raises NotFound for another owner's, Unavailable when Postgres is away.

        RUNNING means: its worker is asked. One that does not answer is the reconciler's to deal with.
        """
        return lifecycle.stop(self.engine, request_id, owner=owner)

    def nudge(self, conversation_id: UUID) -> None:
        """Something has happened in this conversation: its viewers are told within 0.11 s, not a second."""
        if self.watcher is not None and not self.watcher.is_closing:
            self.watcher.nudge(conversation_id)

    async def start(self) -> None:
        """Begin what runs in the background: reading, sweeping, listening, repairing."""
        self.watcher = Watcher(self.settings, self.engine)
        self.watcher.start()
        self._listener = Listener(self.settings, self._on_notice)
        self._listener.start()
        self._ticker = Ticker(self.engine, self.settings, resend=self.dispatcher.send, best_text=self._best_text)
        self._ticker.start()
        self._gauges = metrics.SystemGauges(self.engine)
        metrics.REGISTRY.register(self._gauges)
        self._living = asyncio.create_task(self.liveness.run())
        self._wedge.start()
        freeze_loaded_objects()

    def page_was_drawn(self) -> None:
        """With its first page Streamlit has loaded the rest of itself."""
        self.liveness.page_ended()
        if not self._has_drawn:
            self._has_drawn = True
            freeze_loaded_objects()

    def close_viewers(self) -> None:
        """Let every live connection end now, before the server waits for its connections."""
        if self.watcher is not None:
            self.watcher.close_viewers()

    async def stop_all(self) -> None:
        """End what `start` began, then the rest. Nothing is lost by it: the truth is in Postgres."""
        self._wedge.close()
        if self._living is not None:
            self._living.cancel()
        self.close_viewers()
        if self.watcher is not None:
            await self.watcher.close()
        await asyncio.gather(
            *(asyncio.to_thread(part.close) for part in (self._listener, self._ticker, self.dispatcher) if part)
        )
        if self._gauges is not None:
            metrics.REGISTRY.unregister(self._gauges)
        self._best_text.close()
        self.engine.dispose()

    def _follows_streams(self) -> bool:
        return self.watcher is None or self.watcher.is_closing or self.watcher.follows

    def _is_visited(self) -> bool:
        return self.watcher is not None and self.watcher.watched > 0

    def _on_notice(self, notice: notify.Notice) -> None:
        self.nudge(notice.conversation_id)


_making = threading.Lock()
_current: Runtime | None = None


def current_runtime() -> Runtime:
    """This process's runtime, made from the environment when first asked for. Raises SettingsError."""
    global _current  # noqa: PLW0603 - the one place where a process's single runtime is kept
    with _making:
        if _current is None:
            _current = Runtime(load_settings())
        return _current
